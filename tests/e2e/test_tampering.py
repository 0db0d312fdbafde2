"""Agents that fight back on a real kernel, judged by the detectors "left-cgroup" and "sensor-tampering"."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.model import Alert
from controlplane.pipeline import Pipeline
from rubicon.v1 import alert_pb2, event_pb2, sensor_service_pb2
from sensor.kernel import host
from sensor.ship.segment import FILE_HEADER, read_entry
from tests.controlplane.detectors.golden import HOST, alerts_of, write_golden
from tests.e2e.sensor import Sensor, sensor, until
from tests.e2e.ssh.samples import Cleaner
from tests.turns import turn

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]  # others may hold the lock
LEFT, TAMPERING = "left-cgroup", "sensor-tampering"
HIGH, CRITICAL = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_CRITICAL
SAMPLES = Path(__file__).parents[1] / "controlplane/detectors"
PROGRAMS = Path(__file__).parent / "programs"
OWN = "own={root}$(sed -n 's/^0:://p' /proc/self/cgroup); "


@dataclass(frozen=True)
class Scenario:
    """What an agent does. In `words`: the hierarchy's root, a bystander's pid, the sensor's socket, key, pid and pins."""

    detector: str
    name: str
    words: tuple[str, ...]
    title: str = ""
    """Of the alert; empty for none."""
    severity: int = 0
    process: str = ""
    """Program that the alert names."""
    holds: bool = False
    """It goes on until it is told that it was seen."""

    @property
    def sample(self) -> Path:
        kind = "hit" if self.title else "miss"
        return SAMPLES / self.detector.replace("-", "_") / f"{kind}-{self.name}.jsonl"


TAMPER = (sys.executable, "-S", str(PROGRAMS / "tamper.py"))


def _tampers(action: str, *words: str) -> Scenario:
    title, program = f"Tampering with the sensor: {action}", Path(sys.executable).resolve().name
    return Scenario(TAMPERING, action, (*TAMPER, *words), title, CRITICAL, program, holds=True)


SCENARIOS = [
    Scenario(
        LEFT,
        "moves-itself",
        ("sh", "-c", "echo $$ > {root}/cgroup.procs; /bin/true"),
        "Left its agent's cgroup",
        HIGH,
        "dash",
    ),
    Scenario(
        LEFT,
        "moves-a-stranger",
        ("sh", "-c", OWN + "echo {bystander} > $own/cgroup.procs; /bin/true"),
        "Stranger moved into an agent's cgroup",
        CRITICAL,
        "dash",
    ),
    Scenario(
        LEFT, "cgroup-below", ("sh", "-c", OWN + "mkdir $own/below; echo $$ > $own/below/cgroup.procs; /bin/true")
    ),
    Scenario(
        TAMPERING,
        "local-socket",
        (sys.executable, str(PROGRAMS / "call_sensor.py"), "{socket}"),
        "Tampering with the sensor: local-socket",
        CRITICAL,
        Path(sys.executable).resolve().name,
    ),
    Scenario(TAMPERING, "looks-only", ("ls", "-l", "{socket}")),
    _tampers("file-open", "read", "{key}"),
    _tampers("signal", "kill", "{sensor}", "18"),
    _tampers("ptrace", "trace", "{sensor}"),
    _tampers("bpf-access", "hold", "{pins}/maps/tags"),
    Scenario(TAMPERING, "own-map", (*TAMPER, "own-map")),
]


@pytest.fixture(scope="module")
def watching() -> Iterator[Sensor]:
    """A sensor without a plane: everything stays in the spool."""
    with turn(), sensor() as running:
        running.start()
        yield running


@pytest.fixture
def bystander() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def events_of(running: Sensor, agent: str) -> list[event_pb2.Event]:
    """The agent's events in the spool, each once, in order."""
    found = []
    for path in sorted(running.instance.spool_dir.glob("*.segment")):
        descriptor, place = os.open(path, os.O_RDONLY), FILE_HEADER.size
        try:
            while read := read_entry(descriptor, place, path.stat().st_size):
                entry, place = read
                if entry.batch:
                    found.extend(sensor_service_pb2.Batch.FromString(entry.batch).events)
        finally:
            os.close(descriptor)
    return [event for event in found if event.agent_id == agent]


def alerts(events: list[event_pb2.Event]) -> list[Alert]:
    pipeline = Pipeline()
    found = list(pipeline.apply(HOST, events).alert_of.values())
    assert pipeline.crashes == {}
    return found


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_agent(watching: Sensor, bystander: int, scenario: Scenario, golden: bool) -> None:
    root = host.cgroup_root()
    assert watching.process
    facts = {
        "root": root,
        "bystander": bystander,
        "socket": watching.instance.sensor_socket,
        "key": watching.instance.token_key,
        "sensor": watching.process.pid,
        "pins": Path("/sys/fs/bpf") / watching.instance.name,
    }
    answer, child = watching.launch(*(word.format(**facts) for word in scenario.words), name=scenario.name)
    agent = answer["agent_id"]
    assert child.stdin
    if scenario.holds:
        until(lambda: any(event.HasField("tamper") for event in events_of(watching, agent)))
    child.stdin.close()
    assert child.wait(20) == 0
    if scenario.name == "moves-a-stranger":
        (root / "cgroup.procs").write_text(str(bystander))
    until(lambda: any(event.HasField("finish") for event in events_of(watching, agent)))
    events = events_of(watching, agent)
    found = alerts(events)
    assert [(each.detector, each.title, each.severity) for each in found] == (
        [(scenario.detector, scenario.title, scenario.severity)] if scenario.title else []
    )
    for alert in found:
        assert alert.process
        assert alert.process.exe.rpartition("/")[2] == scenario.process
    if golden:
        scenario.sample.parent.mkdir(parents=True, exist_ok=True)
        places = [(watching.instance.name, "rubicon"), (agent, "a00000000001"), (str(bystander), "4242")]
        places.append((str(watching.process.pid), "4343"))
        lines = Cleaner(events, places, kept=("join", "tamper")).lines()
        scenario.sample.write_text("\n".join(lines) + "\n")
        if scenario.title:
            write_golden(scenario.sample)
        again = [(alert.title, alert.severity, len(alert.evidence)) for alert in alerts_of(scenario.sample)]
        assert again == [(alert.title, alert.severity, len(alert.evidence)) for alert in found]
