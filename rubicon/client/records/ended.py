"""How a stream about one agent is told that it is over."""

from __future__ import annotations

from dataclasses import dataclass

from rubicon.client.errors import AgentKilledError
from rubicon.v1 import agent_pb2


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent has ended; this is how the plane has it."""

    agent: agent_pb2.Agent

    def judge(self) -> None:
        """Return when it ended by itself.

        Raises:
            AgentKilledError: a response ended it.
        """
        if self.agent.state == agent_pb2.AGENT_STATE_KILLED:
            raise AgentKilledError(self.agent.reason, self.agent.alert_id, self.agent.name)
