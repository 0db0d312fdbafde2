"""Agents that fork, on a kernel whose tag hash has few places, judged by the detector "tag-pressure"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rubicon.v1 import alert_pb2
from tests.controlplane.detectors.golden import alerts_of, write_golden
from tests.e2e.sensor import Sensor, sensor, until
from tests.e2e.ssh.samples import Cleaner
from tests.e2e.test_tampering import SAMPLES, alerts, events_of
from tests.turns import turn

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]  # others may hold the lock
DETECTOR = "tag-pressure"
ENTRIES, MARK = 64, 56


@dataclass(frozen=True)
class Scenario:
    """What an agent's shell does."""

    name: str
    script: str
    hit: bool

    @property
    def path(self) -> Path:
        return SAMPLES / "tag_pressure" / f"{'hit' if self.hit else 'miss'}-{self.name}.jsonl"


SCENARIOS = [
    Scenario("fork-bomb", "while :; do sleep 600 & done", True),
    Scenario("below-the-mark", "for each in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1 & done; wait", False),
]


@pytest.fixture(scope="module")
def watching() -> Iterator[Sensor]:
    """A sensor without a plane, and with few places."""
    with turn(), sensor() as running:
        running.start(RUBICON_SENSOR_KERNEL_TAG_MEMORY_BYTES=str(ENTRIES * 96))
        yield running


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_agent(watching: Sensor, scenario: Scenario, golden: bool) -> None:
    answer, child = watching.launch("sh", "-c", scenario.script, name=scenario.name)
    agent = answer["agent_id"]
    assert child.wait(60) == (-9 if scenario.hit else 0)
    until(lambda: any(event.HasField("finish") for event in events_of(watching, agent)))
    events = events_of(watching, agent)
    assert events[-1].finish.reason == ("killed" if scenario.hit else "exited")
    found = alerts(events)
    assert [(each.detector, each.severity) for each in found] == (
        [(DETECTOR, alert_pb2.SEVERITY_CRITICAL)] if scenario.hit else []
    )
    for alert in found:
        assert alert.process
        assert alert.process.key.pid == child.pid
        (item,) = alert.evidence
        assert (int(item.fields["high_water"]), int(item.fields["capacity"])) == (MARK, ENTRIES)
        assert int(item.fields["limit"]) > MARK
        # of those at the mark the maker, and who had not come to its exec yet, have died by then
        assert MARK // 2 <= int(item.fields["processes"]) <= ENTRIES
    if golden:
        scenario.path.parent.mkdir(parents=True, exist_ok=True)
        lines = Cleaner(events, [(watching.instance.name, "rubicon"), (agent, "a00000000001")]).lines()
        scenario.path.write_text("\n".join(lines) + "\n")
        if scenario.hit:
            write_golden(scenario.path)
        again = [(alert.title, alert.severity, len(alert.evidence)) for alert in alerts_of(scenario.path)]
        assert again == [(alert.title, alert.severity, len(alert.evidence)) for alert in found]
