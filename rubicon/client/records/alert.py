"""An alert and what supports it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rubicon.client.records.enum import word
from rubicon.client.records.moment import moment, nanoseconds
from rubicon.client.records.process import Process
from rubicon.v1 import alert_pb2

SEVERITIES = ("info", "low", "medium", "high", "critical")
"""From a fact worth knowing to the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that supports an alert."""

    kind: str
    """argv, config, wire, behaviour, …"""
    text: str
    time_ns: int
    """Kernel time of its record, nanoseconds since 1970."""
    fields: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFlow:
    """The connection that an alert is about; addresses as "address:port" or "[v6]:port"."""

    protocol: str
    source: str
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A detector's finding."""

    id: str
    """16 hex digits, the same for the same finding after a restart."""
    time_ns: int
    agent_id: str
    agent_name: str
    detector: str
    title: str
    severity: str
    """One of SEVERITIES."""
    techniques: tuple[str, ...]
    """ATT&CK ids."""
    process: Process | None
    """Who did it."""
    ancestors: tuple[Process, ...]
    """Its ancestors inside the agent, parent first."""
    flow: AlertFlow | None
    evidence: tuple[Evidence, ...]
    """Oldest first."""
    coverage: tuple[str, ...]
    """What this host could not see and which could matter here."""
    response: str
    """What was done about it: "none", "kill", …"""
    response_id: str
    repeats: int
    """How often it was found again."""
    last_time_ns: int
    """When that was last, nanoseconds since 1970; 0 when never."""
    host: str

    @property
    def time(self) -> datetime:
        """Wall-clock time of the event that decided it."""
        found = moment(self.time_ns)
        assert found is not None  # every alert has one
        return found

    @classmethod
    def of(cls, message: alert_pb2.Alert) -> Alert:
        """From the wire."""
        flow = message.flow
        return cls(
            id=message.id,
            time_ns=nanoseconds(message.time),
            agent_id=message.agent_id,
            agent_name=message.agent_name,
            detector=message.detector,
            title=message.title,
            severity=word(alert_pb2.Severity, message.severity),
            techniques=tuple(message.techniques),
            process=Process.of(message.process) if message.HasField("process") else None,
            ancestors=tuple(Process.of(each) for each in message.ancestors),
            flow=AlertFlow(protocol=flow.protocol, source=flow.source, destination=flow.destination)
            if message.HasField("flow")
            else None,
            evidence=tuple(
                Evidence(kind=each.kind, text=each.text, time_ns=nanoseconds(each.time), fields=dict(each.fields))
                for each in message.evidence
            ),
            coverage=tuple(message.coverage),
            response=message.response,
            response_id=message.response_id,
            repeats=message.repeats,
            last_time_ns=nanoseconds(message.last_time),
            host=message.host,
        )
