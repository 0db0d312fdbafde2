"""One record of the audit: what it says, as a row, and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controlplane.store.rows import Row
from rubicon.v1.audit_chain import canonical, digest, parse

REQUESTED, RESULT, REFUSED, REPORTED, NOTED = "requested", "result", "refused", "reported", "noted"
"""Before an action; what became of it; a call that was not let through; done at a sensor; the plane's own."""
_SECOND = 1_000_000_000
_MOST = {"identity": 512, "target": 4096, "reason": 4096, "detail": 8192, "outcome": 64, "action": 32}
_IDS = {"agent": 12, "alert": 16, "response": 16}


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to whom, and why."""

    action: str
    """kill, freeze, isolate, release, create, enrol, finish, probe, …"""
    target: str
    """Whom, in words."""
    agent_id: str = ""
    reason: str = ""
    alert_id: str = ""
    response_id: str = ""


def content(
    sequence: int,
    previous: str,
    time_ns: int,
    phase: str,
    identity: str,
    deed: Deed,
    *,
    request: int = 0,
    outcome: str = "",
    detail: str = "",
) -> bytes:
    """The bytes of a record.

    Args:
        time_ns: wall-clock nanoseconds.
        request: place of the request that this is the result of; 0 for none.
        outcome: "ok", a response's state, or the reason of a refusal.
    """
    texts = {
        "identity": identity,
        "action": deed.action,
        "target": deed.target,
        "agent": deed.agent_id,
        "reason": deed.reason,
        "alert": deed.alert_id,
        "response": deed.response_id,
        "outcome": outcome,
        "detail": detail,
    }
    bounded = {name: text[: _MOST.get(name) or _IDS[name]] for name, text in texts.items()}
    place: dict[str, str | int] = {"sequence": sequence, "previous": previous, "request": request, "phase": phase}
    return canonical({**place, "time": rfc3339(time_ns), **bounded})


def row(data: bytes) -> Row:
    """The row that a record is kept in.

    Raises:
        ValueError, KeyError: it is no record.
    """
    body = parse(data)
    return {
        "sequence": body["sequence"],
        "time_ns": nanoseconds(str(body["time"])),
        "phase": body["phase"],
        "request": body["request"],
        "identity": body["identity"],
        "action": body["action"],
        "agent_id": body["agent"],
        "alert_id": body["alert"],
        "response_id": body["response"],
        "hash": bytes.fromhex(digest(data)),
        "body": data,
    }


def differs(stored: Any) -> str:
    """What is wrong with the columns of a row; empty when they say what its body says."""
    try:
        wanted = row(bytes(stored.body))
    except (ValueError, KeyError):
        return "it cannot be read: it was changed"
    wrong = [name for name, value in wanted.items() if name != "hash" and getattr(stored, name) != value]
    return f"its column {wrong[0]} does not say what it says: it was changed" if wrong else ""


def rfc3339(time_ns: int) -> str:
    """UTC with nanoseconds."""
    return f"{datetime.fromtimestamp(time_ns // _SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{time_ns % _SECOND:09d}Z"


def nanoseconds(text: str) -> int:
    """The inverse.

    Raises:
        ValueError: it is no such time.
    """
    seconds, _, rest = text.partition(".")
    moment = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    if len(rest) != 10 or rest[-1] != "Z":
        raise ValueError(f"no time: {text[:40]!r}")
    return round(moment.timestamp()) * _SECOND + int(rest[:-1])
