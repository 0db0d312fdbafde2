"""All agents of one boot of one host."""

from __future__ import annotations

from controlplane.model.agent import Agent
from controlplane.model.changes import Changes
from controlplane.model.keys import Boot
from controlplane.tree.agent import AgentTree
from controlplane.tree.limits import Limits
from controlplane.tree.shared import Shared
from rubicon.v1 import coverage_pb2

_MISSING = {coverage_pb2.COVERAGE_STATE_MISSING: "not seen", coverage_pb2.COVERAGE_STATE_PARTIAL: "seen in part"}


class HostTree:
    """Agents in memory by id: the living, and the ended for a while."""

    def __init__(self, boot: Boot, limits: Limits) -> None:
        self.shared = Shared(boot, limits)
        self.agents: dict[str, AgentTree] = {}
        self._coverage: list[str] = []
        self._ended: dict[str, int] = {}
        self._gone: dict[str, None] = {}

    def cover(self, coverage: coverage_pb2.Coverage) -> None:
        """Take over what the host's sensor says it sees."""
        self._coverage[:] = [
            f"{fact.fact}: {fact.missing or _MISSING[fact.state]}" for fact in coverage.facts if fact.state in _MISSING
        ]

    def agent(self, agent_id: str, time_ns: int, offset_ns: int, changes: Changes) -> AgentTree | None:
        """The agent of a record; one that nothing was heard of is made up from its id until its enrol record comes.

        None for records about the host and for agents that have ended and left memory.
        """
        tree = self.agents.get(agent_id)
        if tree is not None or not agent_id or agent_id in self._gone:
            return tree
        agent = Agent(agent_id, agent_id, self.shared.boot, started_wall_ns=time_ns + offset_ns)
        tree = self.agents[agent_id] = AgentTree(agent, self.shared, self._coverage)
        changes.agent_of[agent_id] = agent
        return tree

    def ended(self, agent_id: str) -> None:
        """The agent has finished: it may leave after a while."""
        self._ended[agent_id] = self.shared.now_ns

    def bury(self, agent_id: str) -> None:
        """The agent has ended and left memory, before this plane was started: a late record does not revive it."""
        self._gone[agent_id] = None
        if len(self._gone) > self.shared.limits.agent_tombstones:
            del self._gone[next(iter(self._gone))]

    def sweep(self) -> list[str]:
        """Let go of agents that have ended long enough ago; returns their ids."""
        limits = self.shared.limits
        due = self.shared.now_ns - limits.agent_linger_ns
        left: list[str] = []
        for agent_id, since in self._ended.items():
            if since > due and len(self._ended) - len(left) <= limits.ended_agents:
                break
            left.append(agent_id)
        for agent_id in left:
            self._forget(agent_id)
        return left

    def leave(self) -> list[str]:
        """The host has booted anew: let go of all; returns their ids."""
        left = list(self.agents)
        for agent_id in left:
            self._forget(agent_id)
        return left

    def _forget(self, agent_id: str) -> None:
        self._ended.pop(agent_id, None)
        self.agents.pop(agent_id).leave()
        self.bury(agent_id)
