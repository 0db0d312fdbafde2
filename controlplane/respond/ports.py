"""What a responder needs of the rest of the plane."""

from __future__ import annotations

from typing import Protocol

from controlplane.model import Agent, AgentView, ProcessKey, Response
from rubicon.v1 import agent_pb2, process_pb2, response_pb2, sensor_service_pb2


class Sender(Protocol):
    """Speaks to sensors."""

    async def command(
        self, host: str, command: sensor_service_pb2.Command, timeout: float
    ) -> sensor_service_pb2.CommandResult:
        """Send a command down and wait for what became of it.

        Raises:
            SensorUnreachable, CommandTimeout, InvalidArgument: see controlplane.errors.
        """


class Trees(Protocol):
    """The pipeline: agents in memory."""

    def agent(self, agent_id: str) -> Agent | None:
        """The agent, while in memory."""

    def view(self, agent_id: str) -> AgentView | None:
        """Its tree, while in memory."""

    def living(self, agent_id: str) -> list[ProcessKey]:
        """Its living processes."""

    def descendants(self, agent_id: str, key: ProcessKey) -> list[ProcessKey]:
        """Living processes that a process made, and they made."""

    def killed(self, agent_id: str, reason: str, wall_ns: int) -> Agent | None:
        """A kill of the whole agent was verified."""

    def kill_failed(self, agent_id: str) -> None:
        """A kill of the agent did not succeed."""


class Ledger(Protocol):
    """The store."""

    async def agent(self, text: str) -> agent_pb2.Agent | None:
        """By id, name or unique id prefix."""

    async def process(self, process: process_pb2.ProcessId) -> process_pb2.Process | None:
        """One process; start_time_ns 0 means whoever lives under that pid."""

    async def responses(self, agent_id: str) -> list[response_pb2.Response]:
        """Responses to an agent, newest first."""

    async def save(self, response: Response, agent: Agent | None) -> None:
        """Make a response, and the agent that it changed, durable and tell watchers.

        Raises:
            StoreUnavailable: it could not be written.
        """

    async def mark_killed(self, agent_id: str, reason: str, wall_ns: int) -> None:
        """Make KILLED of a stored agent that is not in memory (pending, or ended long ago)."""
