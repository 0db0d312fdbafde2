"""Samples and golden alerts: how a recorded run is read, judged and written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import Parse

from controlplane import detectors
from controlplane.model import Alert, HostKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import alert_pb2, event_pb2

HOST = HostKey("house", "00000000-0000-4000-8000-000000000000", 1_767_225_600_000_000_000)
MODULES = {module.__name__.rpartition(".")[2]: module for module in detectors.load()}  # type: ignore[attr-defined]


def events_of(path: Path) -> list[event_pb2.Event]:
    return [Parse(line, event_pb2.Event()) for line in path.read_text().splitlines()]


def alerts_of(path: Path, step: int = 0) -> list[Alert]:
    """The sample's own detector's alerts, from batches of `step` events (0: one batch)."""
    module = MODULES[path.parent.name]
    events = events_of(path)
    pipeline = Pipeline([module])
    found: dict[str, Alert] = {}
    for start in range(0, len(events), step or len(events)):
        found.update(pipeline.apply(HOST, events[start : start + (step or len(events))]).alert_of)
    assert pipeline.crashes == {}
    return sorted(found.values(), key=lambda alert: (alert.time_ns, alert.id))


def as_json(alert: Alert) -> dict[str, Any]:
    """What a reader gets to see of it."""
    process, flow = alert.process, alert.flow
    return {
        "id": alert.id,
        "time_ns": alert.wall_ns,
        "agent": alert.agent_id,
        "detector": alert.detector,
        "title": alert.title,
        "severity": alert_pb2.Severity.Name(alert.severity).removeprefix("SEVERITY_").lower(),  # type: ignore[arg-type]
        "techniques": list(alert.techniques),
        "process": [word.decode("utf-8", "backslashreplace") for word in process.argv] if process else None,
        "ancestors": [ancestor.exe for ancestor in alert.ancestors],
        "flow": [flow.protocol, flow.source, flow.destination] if flow else None,
        "evidence": [
            {"kind": item.kind, "text": item.text, "time_ns": item.wall_ns, "fields": dict(sorted(item.fields.items()))}
            for item in alert.evidence
        ],
        "repeats": alert.repeats,
    }


def golden_path(sample: Path) -> Path:
    """Where a sample's golden alerts stand."""
    return sample.with_suffix(".golden.json")


def write_golden(sample: Path) -> None:
    """Writes the alerts that a sample gives now."""
    found = [as_json(alert) for alert in alerts_of(sample)]
    golden_path(sample).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
