"""Agents: make, find and act on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    from rubicon.client.sync import Client


class Agents:
    """`client.agents`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, name: str = "", *, labels: Mapping[str, str] | None = None, on_alert: str = "monitor") -> Agent:
        """An agent that has no process yet.

        Args:
            name: unique among the living; empty lets the plane choose.
            on_alert: "monitor", or "kill" to end it at an alert from severity high on.

        Raises:
            AgentNameTaken: a living agent has this name.
        """
        call = requests.create_agent(name, labels or {}, on_alert)
        return self._client.agent(facts(self._client.call(call)))

    def list(self, *, all: bool = False, labels: Mapping[str, str] | None = None) -> Iterator[Agent]:
        """Agents, newest first; with `all` those that have ended too.

        Args:
            labels: only those that carry all of these.
        """
        for message in self._client.pages(requests.list_agents(all, labels or {})):
            yield self._client.agent(facts(message))

    def get(self, agent: str) -> Agent:
        """An agent by id, unique id prefix (4 digits or more) or name, living or not.

        Raises:
            AgentNotFound: there is none.
        """
        return self._client.agent(facts(self._client.call(requests.get_agent(agent))))

    def connect(self, agent: str) -> Agent:
        """As `get`, for an agent that lives.

        Raises:
            AgentNotFound: there is none.
            AgentEnded: it has ended; AgentKilledError: a response ended it.
        """
        found = self.get(agent)
        if found.state == "killed":
            raise AgentKilledError(found.reason, found.alert_id, found.name)
        if not found.alive:
            raise AgentEnded(f"agent {found.name} has ended ({found.state})")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent(AgentRecord, Responding[Response]):
    """An agent as it was when it was asked for (`refresh` asks again), and what can be done with it."""

    client: Client = field(repr=False, compare=False)

    @property
    def _caller(self) -> Caller[Response]:
        return self.client

    @property
    def _target(self) -> response_pb2.Target:
        return requests.agent_target(self.id)

    def refresh(self) -> Agent:
        """The agent as it is now."""
        return self.client.agents.get(self.id)

    def enrol(self, *, pid: int | None = None, cgroup: str | None = None, start_time: int = 0, host: str = "") -> Agent:
        """Make a process with its descendants, or a cgroup on the v2 hierarchy, this agent; returns it, running.

        Args:
            start_time: of the process, nanoseconds since boot; 0 for whoever has the pid now.
            host: only needed when several sensors are connected.

        Raises:
            ProcessNotFound, CgroupNotFound, AlreadyEnrolled, AgentEnded, SensorUnreachable.
        """
        call = requests.enrol_agent(self.id, pid, start_time, cgroup, host)
        return self.client.agent(facts(self.client.call(call)))

    def finish(self, *, detach: bool = False) -> Agent:
        """End the watch; with `detach` living processes go on unwatched."""
        return self.client.agent(facts(self.client.call(requests.finish_agent(self.id, detach))))

    def tree(self, *, all: bool = False, show_secrets: bool = False) -> Tree:
        """Its processes; with `all` those that have ended too."""
        return Tree(self.client.call(requests.get_tree(self.id, all, show_secrets))[1])

    def wait(self, *, timeout: float | None = None) -> Agent:
        """Wait until it has ended by itself; returns it then. Survives a restart of the plane.

        Args:
            timeout: seconds; None for ever.

        Raises:
            AgentKilledError: a response ended it; says the reason and the alert.
            TimeoutError: it lives on.
        """
        wait = AgentWait(self.id, timeout)
        try:
            for ended in self.client.resuming(wait):
                return self.client.agent(facts(ended))
        except DeadlineExceeded:
            raise wait.expired() from None
        raise RubiconUnreachable("the client was closed while it waited")

    def alerts(self, *, min_severity: str = "", since: datetime | None = None) -> Iterator[Alert]:
        """Its alerts, newest first."""
        return self.client.alerts.list(self.id, min_severity=min_severity, since=since)

    def watch(self, *, min_severity: str = "", existing: bool = True) -> Iterator[Alert]:
        """Its alerts as they happen, those that exist already first; again whenever one has changed; ends with it.

        Raises:
            AgentKilledError: a response ended it.
        """
        return self.client.alerts.watch(self.id, min_severity=min_severity, existing=existing)

    def events(
        self,
        *,
        kinds: tuple[str, ...] = (),
        since: datetime | None = None,
        cursor: str = "",
        follow: bool = False,
    ) -> Iterator[Event]:
        """Its events, as `Client.events`; with `follow` until it ends.

        Raises:
            AgentKilledError: with `follow`: a response ended it.
        """
        return self.client.events(self.id, kinds=kinds, since=since, cursor=cursor, follow=follow)

    def responses(self) -> Iterator[Response]:
        """What was done about it, newest first."""
        return self.client.responses(self.id)

    def watch_responses(self, *, existing: bool = True) -> Iterator[Response]:
        """What is done about it, as it is requested, applied, and verified or failed; ends with it.

        Raises:
            AgentKilledError: a response ended it.
        """
        return self.client.watch_responses(self.id, existing=existing)
