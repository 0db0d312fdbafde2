"""Which alert is answered with what.

A rule says for which detector, which agents (by label) and from which severity on something is to be done, and whether
it is done (enforce) or only said (monitor). The first rule that fits decides. An agent's own `on_alert` is such a rule
and comes first; the settings file's `respond:` adds more (file.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.model import Agent, Alert
from rubicon.v1 import alert_pb2, response_pb2

ACTIONS: Mapping[str, int] = {
    "kill": response_pb2.ACTION_KILL,
    "freeze": response_pb2.ACTION_FREEZE,
    "isolate": response_pb2.ACTION_ISOLATE,
}
"""What a rule can do, by the word for it."""
WORDS: Mapping[int, str] = {action: word for word, action in ACTIONS.items()}
SEVERITIES: Mapping[str, int] = {
    name.removeprefix("SEVERITY_").lower(): number for name, number in alert_pb2.Severity.items() if number
}
ANY = "any"
"""Instead of a detector's id: all of them."""
_READABLE = 100
"""Characters of labels in a rule's name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of policy. Empty detector and labels fit all."""

    action: int
    """An Action of response_pb2, one of ACTIONS."""
    detector: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """An agent carries all of them."""
    min_severity: int = alert_pb2.SEVERITY_HIGH
    """As for `on_alert`: what is below may be an agent's ordinary work."""
    enforce: bool = True
    """False for monitor: what it would have done is only said."""
    max_agents_per_minute: int = 10
    """Agents that it stops within any minute; what is beyond waits its turn, so that a rule that is wrong leaves a
    person the time to see it. 0 for no limit, which no rule of a file has."""

    @property
    def name(self) -> str:
        """What tells it from the other rules of its file, also in another order of lines; for people and records."""
        severity = "" if self.min_severity == alert_pb2.SEVERITY_HIGH else f" from {_severity(self.min_severity)} on"
        labels = ",".join(f"{key}={value}" for key, value in sorted(self.labels.items()))
        if len(labels) > _READABLE:
            labels = f"{labels[:_READABLE]}… {hashlib.blake2b(labels.encode(), digest_size=4).hexdigest()}"
        return f"{self.detector or ANY}: {WORDS[self.action]}{severity}{f' [{labels}]' if labels else ''}"

    def fits(self, agent: Agent, alert: Alert) -> bool:
        """The alert of this agent is one that the rule is about."""
        return (
            alert.severity >= self.min_severity
            and self.detector in ("", alert.detector)
            and all(agent.labels.get(name) == value for name, value in self.labels.items())
        )

    def covers(self, other: Rule) -> bool:
        """It fits whatever the other fits."""
        return (
            self.min_severity <= other.min_severity
            and self.detector in ("", other.detector)
            and self.labels.items() <= other.labels.items()
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done."""

    action: int
    enforce: bool
    reason: str
    """For people: kept with the response."""
    rule: str = ""
    """Name of the rule of the settings file; empty for the agent's own `on_alert`."""
    max_agents_per_minute: int = 0
    """As the rule has it."""


ON_ALERT: Mapping[str, Rule | None] = {
    "monitor": None,
    "kill": Rule(response_pb2.ACTION_KILL, max_agents_per_minute=0),
}
"""What an agent's `on_alert` means. It speaks for one agent, so there is no limit."""


class Policy:
    """Decides; the same alert of the same agent always the same."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        """Of the settings file, in order."""

    def decide(self, agent: Agent, alert: Alert) -> Verdict | None:
        """What is to be done about an alert, None for nothing."""
        own = ON_ALERT.get(agent.on_alert)
        if own is not None and own.fits(agent, alert):
            return self._verdict(own, alert, "")
        for rule in self.rules:
            if rule.fits(agent, alert):
                return self._verdict(rule, alert, rule.name)
        return None

    @staticmethod
    def _verdict(rule: Rule, alert: Alert, name: str) -> Verdict:
        return Verdict(rule.action, rule.enforce, reason_of(alert), name, rule.max_agents_per_minute)


def reason_of(alert: Alert) -> str:
    """Why something is done about an alert, for people; kept with the response and with a killed agent."""
    return f"{alert.detector}: {alert.title} ({_severity(alert.severity)})"


def _severity(number: int) -> str:
    return alert_pb2.Severity.Name(number).removeprefix("SEVERITY_").lower()  # type: ignore[arg-type]
