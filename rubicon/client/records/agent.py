"""An agent, as the plane knew it when it was asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rubicon.client.records.enum import word
from rubicon.client.records.moment import moment, nanoseconds
from rubicon.v1 import agent_pb2

LIVING = ("pending", "running")
"""States of an agent that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """The facts of an agent; the client's Agent and AsyncAgent add what can be done with it."""

    id: str
    """12 hex digits."""
    name: str
    """Unique among the living."""
    labels: dict[str, str]
    state: str
    """pending, running, finished or killed."""
    host: str
    """Empty while pending."""
    started_at_ns: int
    ended_at_ns: int
    process_count: int
    """Living processes."""
    process_total: int
    """Processes ever seen."""
    alert_count: int
    flow_count: int
    on_alert: str
    """monitor or kill."""
    lost: int
    """Records lost that belonged to it."""
    command: tuple[str, ...]
    """What was launched, for people."""
    reason: str
    """Why it was killed, or empty."""
    frozen: bool
    """All its processes are stopped, by a response."""
    isolated: bool
    """It has no network, by a response."""
    contained_reason: str
    """Why it is frozen or isolated, or empty."""
    alert_id: str
    """Alert for which it was killed, or empty."""
    cgroup_path: str

    @property
    def started_at(self) -> datetime | None:
        """When it was enrolled (created, while pending)."""
        return moment(self.started_at_ns)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None while it lives."""
        return moment(self.ended_at_ns)

    @property
    def alive(self) -> bool:
        """It is pending or running."""
        return self.state in LIVING


def facts(message: agent_pb2.Agent) -> dict[str, Any]:
    """The fields of an AgentRecord, from the wire."""
    return {
        "id": message.id,
        "name": message.name,
        "labels": dict(message.labels),
        "state": word(agent_pb2.AgentState, message.state),
        "host": message.host,
        "started_at_ns": nanoseconds(message.started_at),
        "ended_at_ns": nanoseconds(message.ended_at),
        "process_count": message.processes,
        "process_total": message.processes_total,
        "alert_count": message.alerts,
        "flow_count": message.flows,
        "on_alert": message.on_alert,
        "lost": message.lost,
        "command": tuple(message.command),
        "reason": message.reason,
        "frozen": message.frozen,
        "isolated": message.isolated,
        "contained_reason": message.contained_reason,
        "alert_id": message.alert_id,
        "cgroup_path": message.cgroup_path,
    }
