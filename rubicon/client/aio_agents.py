"""As agents.py, for asyncio; there the methods are described."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rubicon.client import requests
from rubicon.client.errors import AgentEnded, AgentKilledError, DeadlineExceeded, RubiconUnreachable
from rubicon.client.records.agent import AgentRecord, facts
from rubicon.client.records.alert import Alert
from rubicon.client.records.event import Event
from rubicon.client.records.response import Response
from rubicon.client.records.tree import Tree
from rubicon.client.responding import Caller, Responding
from rubicon.client.waiting import AgentWait
from rubicon.v1 import response_pb2

if TYPE_CHECKING:
    from rubicon.client.aio import AsyncClient


class AsyncAgents:
    """`client.agents`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self, name: str = "", *, labels: Mapping[str, str] | None = None, on_alert: str = "monitor"
    ) -> AsyncAgent:
        """An agent that has no process yet."""
        call = requests.create_agent(name, labels or {}, on_alert)
        return self._client.agent(facts(await self._client.call(call)))

    async def list(self, *, all: bool = False, labels: Mapping[str, str] | None = None) -> AsyncIterator[AsyncAgent]:
        """Agents, newest first; with `all` those that have ended too."""
        async for message in self._client.pages(requests.list_agents(all, labels or {})):
            yield self._client.agent(facts(message))

    async def get(self, agent: str) -> AsyncAgent:
        """An agent by id, unique id prefix or name, living or not."""
        return self._client.agent(facts(await self._client.call(requests.get_agent(agent))))

    async def connect(self, agent: str) -> AsyncAgent:
        """As `get`, for an agent that lives; raises AgentEnded otherwise."""
        found = await self.get(agent)
        if found.state == "killed":
            raise AgentKilledError(found.reason, found.alert_id, found.name)
        if not found.alive:
            raise AgentEnded(f"agent {found.name} has ended ({found.state})")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncAgent(AgentRecord, Responding[Awaitable[Response]]):
    """As Agent."""

    client: AsyncClient = field(repr=False, compare=False)

    @property
    def _caller(self) -> Caller[Awaitable[Response]]:
        return self.client

    @property
    def _target(self) -> response_pb2.Target:
        return requests.agent_target(self.id)

    async def refresh(self) -> AsyncAgent:
        """The agent as it is now."""
        return await self.client.agents.get(self.id)

    async def enrol(
        self, *, pid: int | None = None, cgroup: str | None = None, start_time: int = 0, host: str = ""
    ) -> AsyncAgent:
        """Make a process with its descendants, or a cgroup, this agent."""
        call = requests.enrol_agent(self.id, pid, start_time, cgroup, host)
        return self.client.agent(facts(await self.client.call(call)))

    async def finish(self, *, detach: bool = False) -> AsyncAgent:
        """End the watch."""
        return self.client.agent(facts(await self.client.call(requests.finish_agent(self.id, detach))))

    async def tree(self, *, all: bool = False, show_secrets: bool = False) -> Tree:
        """Its processes."""
        return Tree((await self.client.call(requests.get_tree(self.id, all, show_secrets)))[1])

    async def wait(self, *, timeout: float | None = None) -> AsyncAgent:
        """Wait until it has ended by itself; raises AgentKilledError where a response ended it, TimeoutError."""
        wait = AgentWait(self.id, timeout)
        try:
            async for ended in self.client.resuming(wait):
                return self.client.agent(facts(ended))
        except DeadlineExceeded:
            raise wait.expired() from None
        raise RubiconUnreachable("the client was closed while it waited")

    def alerts(self, *, min_severity: str = "", since: datetime | None = None) -> AsyncIterator[Alert]:
        """Its alerts, newest first."""
        return self.client.alerts.list(self.id, min_severity=min_severity, since=since)

    def watch(self, *, min_severity: str = "", existing: bool = True) -> AsyncIterator[Alert]:
        """Its alerts as they happen, those that exist already first; ends with it."""
        return self.client.alerts.watch(self.id, min_severity=min_severity, existing=existing)

    def events(
        self,
        *,
        kinds: tuple[str, ...] = (),
        since: datetime | None = None,
        cursor: str = "",
        follow: bool = False,
    ) -> AsyncIterator[Event]:
        """Its events; with `follow` raises AgentKilledError where it is killed."""
        return self.client.events(self.id, kinds=kinds, since=since, cursor=cursor, follow=follow)

    def responses(self) -> AsyncIterator[Response]:
        """What was done about it, newest first."""
        return self.client.responses(self.id)

    def watch_responses(self, *, existing: bool = True) -> AsyncIterator[Response]:
        """What is done about it, as it changes; ends with it."""
        return self.client.watch_responses(self.id, existing=existing)
