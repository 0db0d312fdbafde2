"""What a responder needs of the rest of the plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from controlplane.model import Agent, AgentView, Process, ProcessKey
from rubicon.v1 import response_pb2, sensor_service_pb2


class Sender(Protocol):
    """Speaks to sensors."""

    async def command(
        self,
        host: str,
        command: sensor_service_pb2.Command,
        timeout: float,
        interim: Callable[[response_pb2.Response], None] = ...,
    ) -> sensor_service_pb2.CommandResult:
        """Send a command down and wait for what became of it; `interim` is told of a response that is applied.

        Raises:
            SensorUnreachable, CommandTimeout, InvalidArgument: see controlplane.errors.
        """


class Trees(Protocol):
    """The pipeline: agents in memory."""

    def agent(self, agent_id: str) -> Agent | None:
        """The agent, while in memory."""

    def view(self, agent_id: str) -> AgentView | None:
        """Its tree, while in memory."""

    def find(self, host: str, boot_id: str, pid: int, start_time_ns: int) -> Process | None:
        """A process in memory; empty host or boot mean any, start time 0 whoever lives under that pid."""

    def living(self, agent_id: str) -> list[ProcessKey]:
        """Its living processes."""

    def descendants(self, agent_id: str, key: ProcessKey) -> list[ProcessKey]:
        """Living processes that a process made, and they made."""

    def killed(self, agent_id: str, reason: str, wall_ns: int) -> Agent | None:
        """A kill of the whole agent was verified."""

    def part_killed(self, agent_id: str, process: ProcessKey, reason: str) -> Agent | None:
        """A kill of one process with its descendants was verified; the agent, if that was its root."""

    def kill_failed(self, agent_id: str) -> None:
        """A kill of the agent did not succeed."""
