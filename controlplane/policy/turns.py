"""How many agents a rule has stopped lately. Pure: the time is the caller's."""

from __future__ import annotations

from collections import deque


class Turns:
    """Of all rules, by name. Times are seconds of any clock that never goes back."""

    def __init__(self, window: float) -> None:
        """
        Args:
            window: seconds for which an agent counts.
        """
        self.window = window
        self._taken: dict[str, deque[tuple[float, str]]] = {}
        """Rule → (when, agent), oldest first, each agent once."""

    def take(self, rule: str, agent_id: str, at: float) -> None:
        """The rule stopped an agent; one that counts already does not count twice."""
        if not self.counts(rule, agent_id):
            self._taken.setdefault(rule, deque()).append((at, agent_id))

    def counts(self, rule: str, agent_id: str) -> bool:
        """The rule has stopped this agent already, as far as was looked last."""
        return any(agent == agent_id for _, agent in self._taken.get(rule, ()))

    def opens(self, rule: str, agent_id: str, most: int, now: float) -> float:
        """Seconds until the rule may stop this agent; 0 for now."""
        taken = self._taken.get(rule)
        if taken is None:
            return 0.0
        while taken and now - taken[0][0] >= self.window:
            taken.popleft()
        if not taken:
            del self._taken[rule]
            return 0.0
        if len(taken) < most or self.counts(rule, agent_id):
            return 0.0
        return self.window - (now - taken[len(taken) - most][0])
