"""Runs scenarios as agents under a real sensor, and reads from its spool what the kernel saw."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from controlplane.model import Alert
from controlplane.pipeline import Pipeline
from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.ship.segment import Segment
from tests.controlplane.detectors.golden import HOST
from tests.e2e.sensor import Sensor, until
from tests.e2e.ssh.scenarios import Scenario
from tests.e2e.ssh.world import SECRET, SECRET_PORT, World


@dataclass
class Run:
    """What happened in one scenario."""

    scenario: Scenario
    agent: str
    events: list[event_pb2.Event]
    pulled: bytes

    def alerts(self) -> dict[str, list[Alert]]:
        """Alerts by detector, from the plane's whole pipeline."""
        pipeline = Pipeline()
        found = pipeline.apply(HOST, self.events).alert_of.values()
        assert pipeline.crashes == {}
        by_detector: dict[str, list[Alert]] = {}
        for alert in found:
            by_detector.setdefault(alert.detector, []).append(alert)
        return by_detector

    def first_relayed_ns(self) -> int:
        """Kernel time of the first packet between the agent and the inside of the house; a large number if there is
        none."""
        return min(
            (
                event.time_ns
                for event in self.events
                if event.HasField("packet") and event.packet.flow.destination_port == SECRET_PORT
            ),
            default=1 << 62,
        )


class Recorder:
    """One sensor for many runs, without a plane: everything stays in the spool."""

    def __init__(self, sensor: Sensor, world: World) -> None:
        self._sensor = sensor
        self._world = world

    def run(self, scenario: Scenario) -> Run:
        """Runs a scenario to its end: pulled through, or over by itself, and then killed."""
        if scenario.prepare is not None:
            scenario.prepare(self._world)
        environment = [f"{name}={value}" for name, value in scenario.env(self._world).items()]
        command = [*self._world.enter, "env", *environment, *scenario.words(self._world)]
        answer, child = self._sensor.launch(*command, name=f"{scenario.name}-{os.getpid()}")
        agent = answer["agent_id"]
        pulled = b""
        if scenario.port or scenario.unix:
            where = scenario.unix.format(dir=self._world.dir) or scenario.port
            pulled = self._world.pull(where, socks=SECRET_PORT if scenario.socks else 0)
        else:
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{scenario.name} did not end") from None
        self._sensor.call("kill", target=agent, reason="the scenario is over", force=True)
        events = until(lambda: self._finished(agent))
        if scenario.port or scenario.unix:
            assert pulled == SECRET, (
                f"{scenario.name} forwarded {len(pulled)} bytes; {self._sensor.log.read_text()[-2000:]}"
            )
        return Run(scenario, agent, events, pulled)

    def _finished(self, agent: str) -> list[event_pb2.Event]:
        events = [event for event in self._spooled() if event.agent_id == agent]
        return events if any(event.HasField("finish") for event in events) else []

    def _spooled(self) -> list[event_pb2.Event]:
        events: list[event_pb2.Event] = []
        for path in sorted(self._sensor.instance.spool_dir.glob("*.segment")):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                segment = Segment(path, 0)
                for entry, _ in segment.entries(descriptor, os.fstat(descriptor).st_size):
                    if entry.batch:
                        events.extend(sensor_service_pb2.Batch.FromString(entry.batch).events)
            finally:
                os.close(descriptor)
        return events
