"""The one file that knows the order: records → tree and flows → detectors → alerts → policy → responses wanted.

Pure, in memory, on one thread: no I/O, no clock but the events'. The same events give the same trees, alerts (with the
same ids) and responses, so a restarted plane gets its state back by replaying what it has stored. A batch's Changes are
to be made durable before it is acknowledged and before a wanted response is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from controlplane import detectors, logs
from controlplane.model import (
    Alert,
    Boot,
    Changes,
    DetectorModule,
    HostKey,
    KnownAlert,
    Seen,
)
from controlplane.policy import Alerts, Answers, Policy
from controlplane.policy.alerts import AlertLimits
from controlplane.tree import Limits
from controlplane.watches import Host, Watch, Watches
from rubicon.v1 import agent_pb2, coverage_pb2, event_pb2

_log = logs.get("pipeline")
_KINDS = {
    f.message_type.full_name: f.name
    for f in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields
    if f.message_type is not None
}
Known: TypeAlias = Mapping[str, KnownAlert]
_NONE: Known = {}
_AWAITED = frozenset(("enrol", "finish", "contain", "probe"))


class Pipeline(Watches):
    """State of all hosts. Not for several threads."""

    def __init__(
        self,
        modules: Sequence[DetectorModule] | None = None,
        policy: Policy | None = None,
        limits: Limits | None = None,
        alert_limits: AlertLimits | None = None,
    ) -> None:
        """
        Args:
            modules: detectors, by default all that controlplane/detectors/ has.
        """
        super().__init__(limits)
        self.modules = tuple(detectors.load() if modules is None else modules)
        self.crashes: dict[str, int] = {}
        """Detector id → events on which it crashed since the start."""
        self.policy = policy or Policy()
        """May be replaced at any time: it decides about what comes from then on."""
        self._alert_limits = alert_limits or AlertLimits()
        self._dispatch: dict[str, list[DetectorModule]] = {}
        for module in self.modules:
            for message in module.DETECTOR.reads:
                self._dispatch.setdefault(_KINDS[message.DESCRIPTOR.full_name], []).append(module)

    def apply(self, stream: HostKey, events: Sequence[event_pb2.Event]) -> Changes:
        """Take a batch in, in ring order; records that were seen before are left out."""
        host = self._host(stream.boot)
        changes = Changes()
        fresh = changes.events
        for event in events:
            record = event.record
            cpu = (record.epoch, record.cpu)
            seen = host.seen.get(cpu)
            if seen is None:
                seen = host.seen[cpu] = Seen()
            if seen.add(record.sequence):
                changes.seen_of[cpu] = seen
                fresh.append(event)
            else:
                changes.duplicates += 1
        self._run(host, stream, fresh, changes, None)
        return changes

    def restore(self, stream: HostKey, events: Sequence[event_pb2.Event], known_alerts: Known = _NONE) -> Changes:
        """Take stored events of living agents in again after a restart, in stored order.

        Args:
            known_alerts: by id, the stored alerts whose response, if any was wanted, is stored too: it is not wanted
                again.

        Returns:
            What changed; store the alerts among it that were not known, the rest is stored already.
        """
        changes = Changes()
        self._run(self._host(stream.boot), stream, events, changes, known_alerts)
        for alert in known_alerts:
            changes.alert_of.pop(alert, None)
        return changes

    def remember(self, boot: Boot, seen: Iterable[tuple[int, int, bytes]]) -> None:
        """Take over (epoch, CPU, state) of record sequences as they were stored.

        Raises:
            ValueError: a state is damaged.
        """
        self._host(boot).seen.update({(epoch, cpu): Seen.decode(state) for epoch, cpu, state in seen})

    def cover(self, boot: Boot, coverage: coverage_pb2.Coverage) -> None:
        """Take over what a host sees now; alerts carry what it does not."""
        self._host(boot).tree.cover(coverage)

    def connected(self, stream: HostKey, wall_ns: int) -> list[tuple[HostKey, Changes]]:
        """A sensor of this boot is there, so every earlier boot of its host is over, and all that ran in it.

        A boot's clock offset is the wall-clock time at which it began, which tells the earlier from the later.

        Returns:
            What changed, to be stored, for each earlier boot of the host that still had living agents.
        """
        over: list[tuple[HostKey, Changes]] = []
        for boot, host in self._hosts.items():
            if boot.host != stream.host or boot == stream.boot or host.offset_ns >= stream.clock_offset_ns:
                continue
            changes = Changes()
            for watch in host.watches.values():
                watch.tree.rebooted(wall_ns - host.tree.shared.now_ns, changes)
            if changes.agent_of:
                over.append((HostKey(boot.host, boot.boot_id, host.offset_ns), changes))
            self._leave(host, host.tree.leave())
        return over

    def facts(self) -> list[coverage_pb2.CoverageFact]:
        """What detectors could not look at because they crashed, to be listed with a host's coverage."""
        return [
            coverage_pb2.CoverageFact(
                fact=f"detector {name}",
                mechanism="plane",
                state=coverage_pb2.COVERAGE_STATE_PARTIAL,
                missing=f"crashed on {count} events since the plane started: see its log (`rubicon logs`)",
            )
            for name, count in sorted(self.crashes.items())
        ]

    def _watch(self, host: Host, event: event_pb2.Event, offset_ns: int, changes: Changes) -> Watch | None:
        tree = host.tree.agent(event.agent_id, event.time_ns, offset_ns, changes)
        if tree is None:
            return None
        boot = host.tree.shared.boot
        watch = Watch(tree, Alerts(tree.agent, boot, self._alert_limits), Answers(tree.agent))
        host.watches[tree.id] = watch
        self._where[tree.id] = boot
        return watch

    def _leave(self, host: Host, agents: Iterable[str]) -> None:
        for agent_id in agents:
            host.watches.pop(agent_id, None)
            self._where.pop(agent_id, None)

    def _run(
        self,
        host: Host,
        stream: HostKey,
        events: Iterable[event_pb2.Event],
        changes: Changes,
        known: Known | None,
    ) -> None:
        shared = host.tree.shared
        watches = host.watches
        dispatch = self._dispatch
        offset_ns = host.offset_ns = stream.clock_offset_ns
        for event in events:
            time_ns = event.time_ns
            if time_ns > shared.now_ns:
                shared.now_ns = time_ns
            watch = watches.get(event.agent_id) or self._watch(host, event, offset_ns, changes)
            if watch is None:
                continue
            kind = event.WhichOneof("kind")
            handler = watch.tree.handlers.get(kind or "")
            if handler is not None:
                handler(event, offset_ns, changes)
            for module in dispatch.get(kind or "", ()):
                self._detect(module, event, watch, offset_ns, changes, known)
            if kind in _AWAITED:
                changes.prompt = True
            if kind == "finish":
                self._finished(host, watch, changes)
            elif kind == "enrol":
                self._enrolled(watch, changes, known)
            elif kind == "contain":
                watch.answers.contained(event.contain.frozen, event.contain.isolated)
        self._leave(host, host.tree.sweep())

    def _enrolled(self, watch: Watch, changes: Changes, known: Known | None) -> None:
        """The agent's name and what to do about its alerts are known now; some may have come before."""
        for alert in watch.alerts:
            alert.agent_name = watch.tree.name
            changes.alert_of[alert.id] = alert
            if not alert.response_id:
                self._answer(watch, alert, changes, known)

    def _detect(
        self,
        module: DetectorModule,
        event: event_pb2.Event,
        watch: Watch,
        offset_ns: int,
        changes: Changes,
        known: Known | None,
    ) -> None:
        detector = module.DETECTOR
        tree = watch.tree
        memory = watch.memories.get(detector.id)
        try:
            if memory is None:
                memory = watch.memories[detector.id] = module.Memory()
            for finding in module.detect(event, tree, memory):
                alert, louder = watch.alerts.take(detector, finding, tree, event.time_ns, offset_ns)
                changes.alert_of[alert.id] = alert
                changes.agent_of[tree.id] = tree.agent
                if louder:
                    self._answer(watch, alert, changes, known)
        except Exception:  # noqa: BLE001 - a defect in one detector must not stop the others
            count = self.crashes[detector.id] = self.crashes.get(detector.id, 0) + 1
            tree.agent.detector_crashes += 1
            if count & (count - 1) == 0:
                _log.exception("detector crashed", detector=detector.id, agent=tree.id, times=count)

    def _answer(self, watch: Watch, alert: Alert, changes: Changes, known: Known | None) -> None:
        """Ask policy what to do about an alert, and note it."""
        wanted = watch.answers.take(self.policy, alert, known.get(alert.id) if known else None)
        if wanted is not None:
            changes.responses.append(wanted)

    def _finished(self, host: Host, watch: Watch, changes: Changes) -> None:
        """The agent is over, killed or not."""
        agent = watch.tree.agent
        host.tree.ended(agent.id)
        if agent.state == agent_pb2.AGENT_STATE_KILLED:
            watch.answers.killed()
        for response_id in watch.answers.ended():
            self._say(watch, response_id, "none (the agent ended while it waited its turn)", changes)
