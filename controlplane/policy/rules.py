"""Which alert is answered with what.

A rule says for which detector, which agents (by label) and from which severity on something is to be done, and whether
it is done (enforce) or only said (monitor). The first rule that fits decides. An agent's own `on_alert` is such a rule
and comes first; a settings file's `respond:` adds more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.model import Agent, Alert
from rubicon.v1 import alert_pb2, response_pb2


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of policy. Empty detector and labels fit all."""

    action: int
    """An Action of response_pb2."""
    detector: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    min_severity: int = alert_pb2.SEVERITY_HIGH
    enforce: bool = True

    def fits(self, agent: Agent, alert: Alert) -> bool:
        """The alert of this agent is one that the rule is about."""
        return (
            alert.severity >= self.min_severity
            and self.detector in ("", alert.detector)
            and all(agent.labels.get(name) == value for name, value in self.labels.items())
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done."""

    action: int
    enforce: bool
    reason: str
    """For people: kept with the response."""


ON_ALERT: Mapping[str, Sequence[Rule]] = {
    "monitor": (),
    "kill": (Rule(response_pb2.ACTION_KILL),),
}
"""What an agent's `on_alert` means."""


class Policy:
    """Decides; the same alert of the same agent always the same."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def decide(self, agent: Agent, alert: Alert) -> Verdict | None:
        """What is to be done about an alert, None for nothing."""
        for rule in (*ON_ALERT.get(agent.on_alert, ()), *self._rules):
            if rule.fits(agent, alert):
                severity = alert_pb2.Severity.Name(alert.severity).removeprefix("SEVERITY_").lower()  # type: ignore[arg-type]
                return Verdict(rule.action, rule.enforce, f"{alert.detector}: {alert.title} ({severity})")
        return None
