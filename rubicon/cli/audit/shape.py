"""What audit's commands show: for programs and for people."""

from __future__ import annotations

from typing import Any

from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.audit import AuditRecord, AuditReport
from rubicon.client.records.moment import rfc3339

_GOOD = {"ok", "verified", "dry run"}


def record(value: AuditRecord) -> dict[str, Any]:
    """A record as JSON."""
    return {
        "sequence": value.sequence,
        "time": rfc3339(value.time_ns),
        "phase": value.phase,
        "request": value.request,
        "identity": value.identity,
        "action": value.action,
        "target": value.target,
        "agent": value.agent_id,
        "reason": value.reason,
        "alert": value.alert_id,
        "response": value.response_id,
        "outcome": value.outcome,
        "detail": value.detail,
        "hash": value.hash,
    }


def report(value: AuditReport) -> dict[str, Any]:
    """A report as JSON."""
    return {
        "ok": value.ok,
        "records": value.records,
        "checkpoints": value.checkpoints,
        "last": value.last,
        "covered": value.covered,
        "fingerprint": value.fingerprint,
        "keys": dict(value.keys),
        "faults": [
            {"first": each.first, "last": each.last, "time": each.time or None, "what": each.what}
            for each in value.faults
        ],
    }


def result(value: AuditRecord) -> Part:
    """How it went, in a word or two."""
    if value.phase == "requested":
        return "asked for", "dim"
    if value.phase == "refused":
        return f"refused: {safe(value.outcome)}", "yellow"
    if value.phase == "reported":
        return "done at the sensor", ""
    return safe(value.outcome), "green" if value.outcome in _GOOD else "bold red"


def local(value: AuditRecord) -> str:
    """Its time, here."""
    return f"{value.time.astimezone():%Y-%m-%d %H:%M:%S}" if value.time else "?"


def show_report(output: Output, value: AuditReport) -> None:
    """The verdict in a line, and each fault with its place and time."""
    for fault in value.faults:
        places = f"{fault.first}" if fault.first == fault.last else f"{fault.first}-{fault.last}"
        at = f"record {places}" if fault.first else "not placed"
        when = f" ({safe(fault.time)})" if fault.time else ""
        output.wrapped([(f"{output.icon('✘')} {at}{when}: ", "bold red"), (safe(fault.what), "")])
    words = f"{value.records} records, {value.checkpoints} checkpoints"
    if value.ok:
        output.wrapped([(f"{output.icon('✔')} nothing was changed", "green"), (f": {words}", "")])
    else:
        output.wrapped([("the audit was changed", "bold red"), (f": {words}", "")])
    if value.covered < value.last and value.ok:
        output.wrapped([(f"  records {value.covered + 1} to {value.last} are not signed yet", "yellow")])
    for key, count in sorted(value.keys.items()):
        output.wrapped([(f"  {count} signed by {safe(key)}", "dim")])
