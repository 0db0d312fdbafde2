"""Recorded runs through the plane's pipeline: hits give exactly their golden alerts, misses give none.

`make golden` records the runs anew; UPDATE_GOLDEN=1 only writes the alerts of the present samples anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse

from controlplane import detectors
from controlplane.model import Alert, HostKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import alert_pb2, event_pb2

HERE = Path(__file__).parent
HOST = HostKey("house", "00000000-0000-4000-8000-000000000000", 1_767_225_600_000_000_000)
MODULES = {module.__name__.rpartition(".")[2]: module for module in detectors.load()}  # type: ignore[attr-defined]
SAMPLES = sorted(HERE.glob("*/*.jsonl"))


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


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.name.startswith("hit-")], ids=lambda path: path.stem)
def test_hit(path: Path) -> None:
    alerts = alerts_of(path)
    assert alerts
    found = [as_json(alert) for alert in alerts]
    golden = path.with_suffix(".golden.json")
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.name.startswith("miss-")], ids=lambda path: path.stem
)
def test_miss(path: Path) -> None:
    assert alerts_of(path) == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_batches_make_no_difference(path: Path) -> None:
    """However the records are cut into batches, the same alerts come out."""
    whole = [(alert.id, alert.severity, len(alert.evidence)) for alert in alerts_of(path)]
    assert [(alert.id, alert.severity, len(alert.evidence)) for alert in alerts_of(path, step=1)] == whole
