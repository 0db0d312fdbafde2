"""Take the network from an agent, or from a part of it, and give it back.

In this order: the kernel's flag, from which on the hooks refuse and the packet programs drop; the per-packet programs are on
the root too, for sockets that another cgroup's process made or makes for it; every socket that its processes hold gets an
owner, by which its packets are known; what is handed over later, and joining groups, is refused; then what leads where the
agent may not go is destroyed, which the rest does not depend on. All of it is pinned: a dead sensor releases nothing.

Sockets that no cgroup hook governs (packet, vsock, XDP, RDS …) are looked for in the kernel's file tables: their holders are
reported, or killed where that is asked for.
"""

from __future__ import annotations

import signal
import socket as sockets_module
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

import structlog
from google.protobuf.json_format import ParseDict

from rubicon.v1 import response_pb2
from sensor.act.allow import Network, parsed, reaches
from sensor.act.destroy import destroy
from sensor.act.hunt import Hunt
from sensor.act.namespaces import namespace_of
from sensor.act.part import Part, flag, number
from sensor.act.processes import Key
from sensor.act.registry import Living
from sensor.act.wanted import Wanted
from sensor.kernel.enums import AgentFlag
from sensor.kernel.sockets import SocketEntry

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller

log = structlog.get_logger(part="isolate")
INET = (2, 10)
"""AF_INET, AF_INET6."""
GOVERNED = (*INET, int(sockets_module.AF_UNIX), int(sockets_module.AF_NETLINK))
"""Families that a hook refuses or that reach nobody outside the host."""
ESTABLISHED, CLOSED, LISTENING = 1, 7, 10
"""enum in include/net/tcp_states.h."""
TCP, UDP, MPTCP = 6, 17, 262
DESTROYED = (TCP, UDP, MPTCP)
"""The others are dropped packet by packet: they keep nothing back."""
_HOW = AgentFlag.LOOPBACK | AgentFlag.ALLOWS | AgentFlag.NO_UNIX | AgentFlag.PART
"""Beside ISOLATED, which it goes with."""


@dataclass(slots=True)
class Outcome:
    """What an isolation came to."""

    steps: list[str] = field(default_factory=list)
    destroyed: int = 0
    holders: dict[Key, str] = field(default_factory=dict)
    """Processes with a socket that nothing here governs, and which."""
    connected: int = 0
    """TCP connections that are still established (and dropped, packet by packet)."""
    settled: bool = True
    """Whoever descends from a process that is isolated alone was found."""


def flags(
    isolation: response_pb2.Isolation, allowed: Mapping[Network, frozenset[int]], part: int = 0
) -> tuple[int, int]:
    """Flags to set and to clear for an isolation that lets this through.

    Args:
        part: its number where only the marked are isolated.
    """
    on = AgentFlag.ISOLATED | flag(part)
    on |= AgentFlag.LOOPBACK if isolation.allow_loopback else 0
    on |= AgentFlag.ALLOWS if allowed else 0
    on |= AgentFlag.NO_UNIX if isolation.unix else 0
    return int(on), int(_HOW & ~on)


class Isolator:
    """Isolates and releases; `cut` blocks for up to half a second, for the destroying."""

    def __init__(self, enroller: Enroller, patience_s: float) -> None:
        self._enroller = enroller
        self._kernel = enroller.kernel
        self._patience_s = patience_s
        self.part = Part(enroller, patience_s)
        self._elsewhere = False
        """Namespaces that an isolated agent is not in any more are still to be looked through: a host may have thousands."""

    def cut(self, agent: Living, isolation: response_pb2.Isolation, outcome: Outcome, started: int) -> None:
        """Once it is enforced: destroy what is connected, find what no hook governs, verify.

        Args:
            started: when it was asked for, monotonic nanoseconds.
        """
        outcome.steps.append(f"refused and dropped in {(time.monotonic_ns() - started) / 1e6:.1f} ms")
        outcome.destroyed, problems = self.destroy([(agent, isolation)], self._places(agent))
        self._elsewhere = True
        outcome.steps.append(f"destroyed {outcome.destroyed} in {(time.monotonic_ns() - started) / 1e6:.0f} ms")
        outcome.steps.extend(problems)
        self._ungoverned(agent, isolation, outcome)
        outcome.connected = self._connected(agent)

    def destroy(
        self, isolated: Iterable[tuple[Living, response_pb2.Isolation]], places: Collection[int] | None = None
    ) -> tuple[int, list[str]]:
        """Destroy what isolated agents hold or have made, and may not have; how many, and in words what could not be.

        Args:
            places: inodes of the network namespaces to do it in; every one unless given.
        """
        return destroy(self._kernel, lambda: self._wanted(isolated), places)

    def enforce(self, agent: Living, isolation: response_pb2.Isolation, alone: Hunt | None = None) -> Outcome:
        """What denies.

        Args:
            alone: these only; the whole agent unless given.

        Raises:
            InvalidArgument: the allow-list.
            OSError: the kernel refuses (the trie of allowed destinations is full).
        """
        allowed = parsed(isolation.allow)
        on, off = flags(isolation, allowed, agent.part if alone else 0)
        outcome = Outcome()

        def deny() -> None:
            self._kernel.allows.replace(agent.number, allowed)
            self._kernel.agents.set_flags(agent.number, on=on, off=off)
            self._kernel.follow_leavers(True)
            self._kernel.tag_sockets(agent.number)

        if alone:
            outcome.settled = self.part.mark(alone, deny)
            self._kernel.tag_sockets(agent.number)
        else:
            deny()
        self._kernel.isolating(True)  # 25 ms where these hooks were taken off a moment ago: nothing else waits for them
        return outcome

    def release(self, agent: Living) -> None:
        """Give the network back; whether anybody else is isolated is read from the kernel."""
        if self._elsewhere:
            self.destroy([(agent, isolation_of(agent))])
        self._kernel.agents.set_flags(agent.number, off=int(AgentFlag.ISOLATED | _HOW))
        self._kernel.allows.replace(agent.number, {})
        if not any(state.flags & AgentFlag.ISOLATED for _, state in self._kernel.agents.items()):
            self._kernel.allows.nobody_is_isolated()

    def again(self, agents: Iterable[Living]) -> list[tuple[Living, Key, str]]:
        """While some are isolated: sockets that came to them get an owner, or are cut; who holds one that nothing governs."""
        agents = list(agents)
        self._kernel.tag_sockets(0)
        found = []
        everything = self._kernel.sockets()
        if self._elsewhere or any(_open_to(each) for each in everything):
            self._elsewhere = False
            count, problems = self.destroy([(each, isolation_of(each)) for each in agents])
            if count or problems:
                log.warning("more connections of isolated agents were destroyed", count=count, problems=problems)
        by_number = {agent.number: agent for agent in agents}
        parts = [agent for agent in agents if agent.isolated_parts]
        tasks = self._kernel.tasks() if parts else []
        marked = {agent.number: self.part.marked(agent, tasks) for agent in parts}
        for entry in everything:
            holding = by_number.get(entry.agent) if entry.family not in GOVERNED else None
            holder, what = (entry.pid, entry.start_time), _family(entry.family)
            if holding and holder in marked.get(holding.number, (holder,)):
                if holding.strict_holders:
                    self._kill(holding, {holder})
                found.append((holding, holder, what))
        return found

    def _wanted(self, isolated: Iterable[tuple[Living, response_pb2.Isolation]]) -> Wanted:
        """For a kernel that must be told; what was made in a cgroup counts unless somebody else is in there."""
        wanted = Wanted({each.cookie for each in self._kernel.sockets() if each.denied})
        for agent, isolation in isolated:
            hunt = Hunt(self._kernel, agent, self._enroller.cgroup(agent), (), None)
            if hunt.cgroup and agent.wholly_isolated and not hunt.shares_cgroup():
                wanted.cgroups.update(dict.fromkeys(hunt.cgroup.ids(), _spared(isolation)))
        return wanted

    def _places(self, agent: Living) -> set[int]:
        """Network namespaces that its processes and sockets are in."""
        found = {entry.netns for entry in self._sockets(agent)}
        return found | {namespace_of(task.pid) for task in self._kernel.tasks() if task.agent == agent.number}

    def _sockets(self, agent: Living) -> list[SocketEntry]:
        return [entry for entry in self._kernel.sockets() if entry.agent == agent.number]

    def _connected(self, agent: Living) -> int:
        """Established TCP connections; one that is being destroyed takes a moment."""
        deadline = time.monotonic() + self._patience_s
        while True:
            left = {
                entry.cookie
                for entry in self._sockets(agent)
                if entry.protocol == TCP and entry.denied and entry.state == ESTABLISHED
            }
            if not left or time.monotonic() > deadline:
                return len(left)
            time.sleep(0.002)

    def holders(self, agent: Living) -> dict[Key, str]:
        """Who of it, or of its isolated part, holds a socket that no hook governs, and which."""
        found = {
            (entry.pid, entry.start_time): f"holds a socket of {_family(entry.family)}, which no hook governs"
            for entry in self._sockets(agent)
            if entry.family not in GOVERNED
        }
        if found and agent.isolated_parts:
            marked = self.part.marked(agent, self._kernel.tasks())
            return {who: what for who, what in found.items() if who in marked}
        return found

    def _ungoverned(self, agent: Living, isolation: response_pb2.Isolation, outcome: Outcome) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            holders = self.holders(agent)
            if not holders or not isolation.strict or time.monotonic() > deadline:
                outcome.holders = holders
                return
            killed = self._kill(agent, set(holders))
            outcome.steps.append(f"killed {killed} holders of ungoverned sockets")
            time.sleep(0.002)

    def _kill(self, agent: Living, holders: set[Key]) -> int:
        hunt = Hunt(self._kernel, agent, None, (), None)
        tasks = [task for task in hunt.look() if (task.pid, task.start_time) in holders]
        return sum(hunt.send(task, signal.SIGKILL) for task in tasks)


def _family(number: int) -> str:
    try:
        return sockets_module.AddressFamily(number).name
    except ValueError:
        return f"family {number}"


def in_force(agent: Living, flags: int) -> bool:
    """The kernel has it in an agent's flags as the registry has it."""
    wanted = agent.part if agent.isolated_parts else 0
    return bool(flags & AgentFlag.ISOLATED) and number(flags) == wanted


def isolation_of(agent: Living) -> response_pb2.Isolation:
    """As it was asked for."""
    return ParseDict(agent.isolation, response_pb2.Isolation())


def _open_to(entry: SocketEntry) -> bool:
    """It leads where its holder may not go, and can be destroyed."""
    return bool(entry.denied) and entry.protocol in DESTROYED and entry.state not in (CLOSED, LISTENING)


def _spared(isolation: response_pb2.Isolation) -> Callable[[str, int], bool]:
    allowed = parsed(isolation.allow)

    def spared(address: str, port: int) -> bool:
        if not port:  # it leads nowhere yet
            return bool(allowed) or isolation.allow_loopback
        return reaches(allowed, address, port) or (isolation.allow_loopback and _loopback(address))

    return spared


def _loopback(address: str) -> bool:
    host = ip_address(address)
    mapped = host.ipv4_mapped if host.version == 6 else None
    return (mapped or host).is_loopback
