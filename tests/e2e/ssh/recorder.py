"""Runs scenarios as agents under a real sensor, and reads from its spool what the kernel saw."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.model import Alert
from controlplane.pipeline import Pipeline
from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.ship.segment import FILE_HEADER, read_entry
from tests.controlplane.detectors.golden import HOST
from tests.e2e.sensor import Sensor, until
from tests.e2e.ssh.scenario import ARGV, CONFIG, WIRE, Scenario
from tests.e2e.ssh.world import SECRET, SECRET_PORT, SSHD_PORTS, World, wait

TUNNELS = frozenset((*SSHD_PORTS, 8443, 8444))
"""Remote ports of the connections that carry tunnels."""


BEFOREHAND = frozenset((ARGV, CONFIG, WIRE))
"""Kinds of evidence that show a forward before it is used."""


def kinds_of(alerts: list[Alert]) -> set[str]:
    """Kinds of evidence; the banner is not counted."""
    return {item.kind for alert in alerts for item in alert.evidence if item.fields.get("what") != "banner"}


@dataclass
class Run:
    """What happened in one scenario."""

    scenario: Scenario
    agent: str
    events: list[event_pb2.Event]
    carriers: frozenset[int]
    """Pids of the agent that held a connection to an SSH server while something was pulled, as /proc showed it."""

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
        """Kernel time of the first byte that could go between the agent and the inside of the house (a packet, or the
        connect to the Unix socket)."""
        return min(
            event.time_ns
            for event in self.events
            if (event.HasField("packet") and event.packet.flow.destination_port == SECRET_PORT)
            or (event.HasField("unix_connect") and event.unix_connect.path.endswith("/inside.sock"))
        )


class Recorder:
    """One sensor for many runs, without a plane: everything stays in the spool."""

    def __init__(self, sensor: Sensor, world: World) -> None:
        self._sensor = sensor
        self._world = world
        self._read: dict[Path, int] = {}
        self._events: list[event_pb2.Event] = []

    def run(self, scenario: Scenario) -> Run:
        """Runs a scenario to its end: pulled through, or over by itself, and then killed."""
        if scenario.prepare is not None:
            scenario.prepare(self._world)
        words = scenario.words(self._world)
        command = [*self._world.enter, "env", *scenario.env(self._world), *words]
        answer, child = self._sensor.launch(*command, name=f"{scenario.name}-{os.getpid()}")
        agent = answer["agent_id"]
        carriers: frozenset[int] = frozenset()
        if scenario.pulled:
            if not scenario.hasty:
                self._until_shown(scenario, agent)
            where = scenario.unix.format(dir=self._world.dir) or scenario.port
            pulled = self._world.pull(where, socks=SECRET_PORT if scenario.socks else 0, chatty=scenario.chatty)
            assert pulled == SECRET, f"{scenario.name} forwarded {len(pulled)} bytes; {self._log()}"
            carriers = frozenset(self._carriers(agent))
        else:
            try:
                child.communicate(timeout=scenario.seconds)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{scenario.name} did not end; {self._log()}") from None
        if scenario.hasty and CONFIG in scenario.kinds:
            until(lambda: any(event.HasField("ssh_config") for event in self._of(agent)))
        self._sensor.call("kill", target=agent, reason="the scenario is over", force=True)
        until(lambda: any(event.HasField("finish") for event in self._of(agent)))
        return Run(scenario, agent, self._of(agent), carriers)

    def _until_shown(self, scenario: Scenario, agent: str) -> None:
        wanted = scenario.kinds & BEFOREHAND

        def shown() -> bool:
            alerts = Run(scenario, agent, self._of(agent), frozenset()).alerts().get("ssh-remote-forward", [])
            return wanted <= kinds_of(alerts)

        if wanted:
            wait(shown, f"evidence of {', '.join(sorted(wanted))}")

    def _carriers(self, agent: str) -> Iterator[int]:
        inodes = {inode for _, remote, inode in self._world.sockets("01") if remote in TUNNELS}
        links = {f"socket:[{inode}]" for inode in inodes}
        seen = self._of(agent)  # it may have left its cgroup, and need not have executed anything
        for pid in {event.process.pid for event in seen} | {event.fork.child.pid for event in seen}:
            folder = Path(f"/proc/{pid}/fd")
            try:
                held = {os.readlink(name) for name in folder.iterdir()}
            except FileNotFoundError:
                continue  # it, or a descriptor of its, is gone
            if held & links:
                yield pid

    def _log(self) -> str:
        servers = (self._world.dir / "servers.log").read_text()
        return f"sensor: {self._sensor.log.read_text()[-600:]}\nservers: {servers[-1000:]}"

    def _of(self, agent: str) -> list[event_pb2.Event]:
        """The agent's events so far, each once."""
        for path in sorted(self._sensor.instance.spool_dir.glob("*.segment")):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                size = os.fstat(descriptor).st_size
                while found := read_entry(descriptor, self._read.get(path, FILE_HEADER.size), size):
                    entry, self._read[path] = found
                    if entry.batch:
                        self._events.extend(sensor_service_pb2.Batch.FromString(entry.batch).events)
            finally:
                os.close(descriptor)
        return [event for event in self._events if event.agent_id == agent]
