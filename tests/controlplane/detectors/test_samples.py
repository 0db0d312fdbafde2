"""Recorded runs through the plane's pipeline: hits give exactly their golden alerts, misses give none.

`make golden` records the runs anew; UPDATE_GOLDEN=1 only writes the alerts of the present samples anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.controlplane.detectors.golden import alerts_of, as_json, golden_path, write_golden

SAMPLES = sorted(Path(__file__).parent.glob("*/*.jsonl"))
HITS = [path for path in SAMPLES if path.name.startswith("hit-")]
MISSES = [path for path in SAMPLES if path.name.startswith("miss-")]


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", HITS, ids=named)
def test_hit(path: Path) -> None:
    if os.environ.get("UPDATE_GOLDEN") == "1":
        write_golden(path)
    alerts = alerts_of(path)
    assert alerts
    assert [as_json(alert) for alert in alerts] == json.loads(golden_path(path).read_text())


@pytest.mark.parametrize("path", MISSES, ids=named)
def test_miss(path: Path) -> None:
    assert alerts_of(path) == []


@pytest.mark.parametrize("path", SAMPLES, ids=named)
def test_batches_make_no_difference(path: Path) -> None:
    """However the records are cut into batches, the same alerts come out."""
    whole = [(alert.id, alert.severity, len(alert.evidence)) for alert in alerts_of(path)]
    assert [(alert.id, alert.severity, len(alert.evidence)) for alert in alerts_of(path, step=1)] == whole
