"""From findings to alerts: the same finding is the same alert, for ever and after every replay."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.model import (
    Agent,
    AgentView,
    Alert,
    AlertFlow,
    Boot,
    Detector,
    Evidence,
    Finding,
    Process,
    ProcessKey,
)
from controlplane.model.flow import address_text


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What one agent may have in memory; what is beyond is counted, never dropped in silence."""

    alerts: int = 200
    """Alerts of one detector and group. Further findings are repeats of one last alert, whose key begins with `MORE`: the
    first raises it at once, and a louder one raises its severity at once."""
    ancestors: int = 32
    """Ancestors that an alert names: the nearest, and the first of all in the last place."""
    evidence: int = 64
    """Items of evidence of one alert; beyond it they are counted."""
    more_evidence: int = 16
    """The same of an alert that only counts: it is stored anew with each batch of a flood."""


MORE = "\0more"
"""What nothing else is a key's beginning with."""


class Raised(NamedTuple):
    """What a finding did."""

    alert: Alert
    louder: bool
    """It is new, or its severity rose: policy decides (again)."""


def alert_id(boot: Boot, agent_id: str, detector_id: str, key: str) -> str:
    """16 hex digits, the same for the same finding."""
    parts = "\0".join((boot.host, boot.boot_id, agent_id, detector_id, key))
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Alerts:
    """The alerts of one agent."""

    def __init__(self, agent: Agent, boot: Boot, limits: AlertLimits) -> None:
        self._agent = agent
        self._boot = boot
        self._limits = limits
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def __iter__(self) -> Iterator[Alert]:
        return iter(self._alerts.values())

    def take(self, detector: Detector, finding: Finding, view: AgentView, time_ns: int, offset_ns: int) -> Raised:
        """Bring a finding in.

        Args:
            time_ns: kernel time of the event that the detector was looking at.
            offset_ns: wall clock minus kernel time.
        """
        key, folded = finding.key, False
        alert = self._alerts.get((detector.id, key))
        group = detector.id, finding.group
        if alert is None:
            singles = self._limits.alerts if detector.singles is None else min(detector.singles, self._limits.alerts)
            if self._counts.get(group, 0) >= singles:
                self._agent.findings_folded += 1
                key, folded = MORE + finding.group, True
                alert = self._alerts.get((detector.id, key))
        if alert is not None:
            return self._again(alert, finding, view, time_ns, offset_ns, folded)
        self._counts[group] = self._counts.get(group, 0) + 1
        alert = Alert(
            id=alert_id(self._boot, self._agent.id, detector.id, key),
            boot=self._boot,
            time_ns=time_ns,
            wall_ns=time_ns + offset_ns,
            agent_id=self._agent.id,
            agent_name=self._agent.name,
            detector=detector.id,
            title=f"{finding.title} (and more of detector {detector.id})" if folded else finding.title,
            severity=finding.severity,
            techniques=finding.techniques,
            process=None,
            coverage=view.coverage_missing(),
        )
        self._alerts[detector.id, key] = alert
        self._describe(alert, finding, view, offset_ns)
        self._add_evidence(alert, finding, offset_ns, folded)
        self._agent.alerts += 1
        return Raised(alert, True)

    def _again(
        self, alert: Alert, finding: Finding, view: AgentView, time_ns: int, offset_ns: int, folded: bool
    ) -> Raised:
        news = self._add_evidence(alert, finding, offset_ns, folded)
        louder = finding.severity > alert.severity
        alert.last_wall_ns = max(alert.last_wall_ns, time_ns + offset_ns)
        if louder:
            alert.severity = finding.severity
            alert.title = finding.title
            alert.time_ns, alert.wall_ns = time_ns, time_ns + offset_ns
        elif folded or not news:
            alert.repeats += 1
        if louder or news:
            alert.techniques = tuple(dict.fromkeys((*alert.techniques, *finding.techniques)))
            self._describe(alert, finding, view, offset_ns)
        return Raised(alert, louder)

    def _add_evidence(self, alert: Alert, finding: Finding, offset_ns: int, folded: bool) -> bool:
        """Merge; True when something was new. The same words from another record are a repeat, no evidence."""
        most = self._limits.more_evidence if folded else self._limits.evidence
        known = {(item.kind, item.text) for item in alert.evidence}
        news = False
        for item in finding.evidence:
            if (item.kind, item.text) in known:
                continue
            if len(alert.evidence) >= most:
                alert.evidence_left_out += 1
                continue
            known.add((item.kind, item.text))
            wall_ns = item.time_ns + offset_ns
            alert.evidence.append(Evidence(item.kind, item.text, wall_ns, item.record, dict(item.fields)))
            news = True
        if news:
            alert.evidence.sort(key=lambda item: item.wall_ns)
        return news

    def _describe(self, alert: Alert, finding: Finding, view: AgentView, offset_ns: int) -> None:
        """Fill in process, ancestors and flow as they are known by now."""
        process = view.process(finding.process)
        if process is not None:
            alert.process = copy.copy(process)
            alert.ancestors = self._ancestors(finding.process, view)
        elif alert.process is None:
            alert.process = self._unknown(finding.process, offset_ns)
        flow = view.flow(finding.flow) if finding.flow is not None else None
        if flow is not None:
            source = address_text(flow.source, flow.source_port)
            destination = address_text(flow.destination, flow.destination_port)
            alert.flow = AlertFlow(flow.protocol_name, source, destination, flow.cookie)

    def _ancestors(self, key: ProcessKey, view: AgentView) -> list[Process]:
        named: list[Process] = []
        for ancestor in view.ancestors(key):
            if len(named) == self._limits.ancestors:
                named.pop()
            named.append(ancestor)
        return [copy.copy(ancestor) for ancestor in named]

    def _unknown(self, key: ProcessKey, offset_ns: int) -> Process:
        return Process(self._boot, key, self._agent.id, key.start_time_ns + offset_ns)
