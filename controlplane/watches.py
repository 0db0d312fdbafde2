"""What the pipeline holds in memory: hosts, their agents, and what is watched about each; and how others look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controlplane.model import Agent, AgentView, Boot, Changes, HostKey, Process, ProcessKey, ResponseWanted, Seen
from controlplane.policy import Alerts, Answers
from controlplane.tree import AgentTree, HostTree, Limits
from rubicon.v1 import agent_pb2


@dataclass(slots=True, eq=False)
class Watch:
    """One agent and what is watched about it."""

    tree: AgentTree
    alerts: Alerts
    answers: Answers
    memories: dict[str, Any] = field(default_factory=dict)
    """Detector id → its memory of this agent."""


@dataclass(slots=True, eq=False)
class Host:
    """One boot of one host."""

    tree: HostTree
    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    offset_ns: int = 0
    """Clock offset of the newest batch."""


class Watches:
    """Hosts by boot, agents by id. Pure, in memory, on one thread."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._hosts: dict[Boot, Host] = {}
        self._where: dict[str, Boot] = {}

    def agent(self, agent_id: str) -> Agent | None:
        """The agent, while in memory."""
        watch = self._watch_of(agent_id)
        return watch.tree.agent if watch else None

    def agents(self) -> Iterator[Agent]:
        """Every agent in memory: those that live, and some that have ended."""
        return (watch.tree.agent for host in self._hosts.values() for watch in host.watches.values())

    def view(self, agent_id: str) -> AgentView | None:
        """The agent's tree and flows, while in memory."""
        watch = self._watch_of(agent_id)
        return watch.tree if watch else None

    def descendants(self, agent_id: str, key: ProcessKey) -> list[ProcessKey]:
        """Living processes that a process made, and they made."""
        watch = self._watch_of(agent_id)
        return [p.key for p in watch.tree.descendants(key) if p.alive] if watch else []

    def find(self, host: str, boot_id: str, pid: int, start_time_ns: int) -> Process | None:
        """A process in memory; empty host or boot mean any, start time 0 whoever lives under that pid."""
        for boot, state in self._hosts.items():
            if host in ("", boot.host) and boot_id in ("", boot.boot_id):
                for process in state.tree.shared.pids.get(pid, ()):
                    if process.key.start_time_ns == start_time_ns or (not start_time_ns and process.alive):
                        return process
        return None

    def living(self, agent_id: str) -> list[ProcessKey]:
        """The agent's living processes, oldest first."""
        watch = self._watch_of(agent_id)
        if watch is None:
            return []
        processes = watch.tree.processes.by_key.values()
        return sorted((p.key for p in processes if p.alive), key=lambda key: (key.start_time_ns, key.pid))

    def killed(self, agent_id: str, reason: str, wall_ns: int) -> Agent | None:
        """A kill of the whole agent was verified; returns the agent to store, None when it has left memory."""
        watch = self._watch_of(agent_id)
        if watch is None:
            return None
        agent = watch.tree.agent
        agent.state = agent_pb2.AGENT_STATE_KILLED
        watch.answers.killed(reason)
        if agent.ended_wall_ns is None:
            agent.ended_wall_ns = wall_ns
        return agent

    def part_killed(self, agent_id: str, process: ProcessKey, reason: str) -> Agent | None:
        """A kill of one process with its descendants was verified; returns the agent, whose root that was, to store. It learns
        why: if it ends with it, it was killed."""
        watch = self._watch_of(agent_id)
        if watch is None or watch.tree.agent.root != process:
            return None
        agent = watch.tree.agent
        agent.reason = agent.reason or reason
        if agent.ended and not agent.detached:
            agent.state = agent_pb2.AGENT_STATE_KILLED
        return agent

    def bury(self, boot: Boot, agent_id: str) -> None:
        """The agent ended before this plane was started: late records of it change nothing."""
        self._host(boot).tree.bury(agent_id)

    def kill_failed(self, agent_id: str) -> None:
        """A kill of the agent did not succeed: the next alert that asks for one gets one."""
        watch = self._watch_of(agent_id)
        if watch is not None:
            watch.answers.kill_failed()

    def failed(self, wanted: ResponseWanted) -> None:
        """What policy wanted did not succeed: the next alert that asks for it gets it."""
        watch = self._watch_of(wanted.agent_id)
        if watch is not None:
            watch.answers.failed(wanted.id)

    def waits(self, wanted: ResponseWanted, why: str) -> tuple[HostKey, Changes] | None:
        """What policy wanted waits its turn; empty `why`: it is its turn now. Its alerts say so.

        Returns:
            What is to be stored; None when the agent has left memory.
        """
        watch = self._watch_of(wanted.agent_id)
        if watch is None:
            return None
        boot = self._where[wanted.agent_id]
        watch.answers.waits(wanted.id, why)
        changes = Changes()
        self._say(watch, wanted.id, watch.answers.said(wanted.id), changes)
        return HostKey(boot.host, boot.boot_id, self._hosts[boot].offset_ns), changes

    def dropped(self, wanted: ResponseWanted) -> tuple[HostKey, Changes] | None:
        """What policy wanted waited its turn, and is not wanted any more. Returns: as waits()."""
        watch = self._watch_of(wanted.agent_id)
        if watch is not None:
            watch.answers.dropped(wanted.id)
        said = self.waits(wanted, "")
        if said is not None:
            for alert in said[1].alerts:
                alert.response, alert.response_id = "none (held back, and no rule wants it any more)", ""
        return said

    def _host(self, boot: Boot) -> Host:
        host = self._hosts.get(boot)
        if host is None:
            host = self._hosts[boot] = Host(HostTree(boot, self._limits))
        return host

    def _watch_of(self, agent_id: str) -> Watch | None:
        boot = self._where.get(agent_id)
        return self._hosts[boot].watches.get(agent_id) if boot is not None else None

    def _say(self, watch: Watch, response_id: str, text: str, changes: Changes) -> None:
        for alert in watch.alerts:
            if alert.response_id == response_id:
                alert.response = text
                changes.alert_of[alert.id] = alert
