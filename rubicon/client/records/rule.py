"""A rule of the settings file, as the plane has it in force."""

from __future__ import annotations

from dataclasses import dataclass

from rubicon.client.records.enum import word
from rubicon.v1 import alert_pb2, policy_pb2, response_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; the first that fits an alert decides."""

    name: str
    """What tells it from the others; responses name it."""
    detector: str
    """Empty for any."""
    labels: dict[str, str]
    """An agent carries all of these."""
    min_severity: str
    action: str
    """kill, freeze or isolate."""
    mode: str
    """enforce, or monitor: it only says what it would have done."""
    max_agents_per_minute: int
    waiting: int
    """Agents that wait their turn, because it has stopped as many as it may."""
    held_back: int
    """Agents that had to wait since the plane started."""

    @classmethod
    def of(cls, message: policy_pb2.Rule) -> Rule:
        """From the wire."""
        return cls(
            name=message.name,
            detector=message.detector,
            labels=dict(message.labels),
            min_severity=word(alert_pb2.Severity, message.min_severity),
            action=word(response_pb2.Action, message.action),
            mode="enforce" if message.enforce else "monitor",
            max_agents_per_minute=message.max_agents_per_minute,
            waiting=message.waiting,
            held_back=message.held_back,
        )
