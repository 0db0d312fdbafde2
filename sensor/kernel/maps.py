"""The maps that the sensor and the hooks share, as Python. Values are those of abi.py."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from sensor.kernel import abi, bpf
from sensor.kernel.abi import AgentValue, TagValue, UntaggedValue
from sensor.kernel.enums import ControlOperation, EventClass, Guarded, Limit, LossReason

_PID = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")

Network = IPv4Network | IPv6Network
Tag = TagValue
AgentState = AgentValue


class Control:
    """control.bpf.c: changes that must be one step with those of the hooks."""

    def __init__(self, program: int) -> None:
        self._program = program

    def __call__(self, operation: ControlOperation, *arguments: int) -> bool:
        """Run one; True when it was done."""
        return bpf.run(self._program, operation, *arguments) == 1


class Tags:
    """Who belongs to an agent, by pid (tgid in the initial namespace)."""

    def __init__(self, tags: bpf.Map, control: Control) -> None:
        self._map = tags
        self._control = control

    @property
    def capacity(self) -> int:
        """Most tags at once."""
        return self._map.max_entries

    def get(self, pid: int) -> Tag | None:
        """A process's tag; None for nobody's."""
        value = self._map.lookup(_PID.pack(pid))
        return TagValue(*abi.TAG.unpack(value)) if value else None

    def add(self, pid: int, agent: int, start_time: int, flags: int) -> bool:
        """Tag a process; False when another agent, or another process of that pid, has the place: the first owner stays.

        True as well when this agent has this very process already; the flags are added then.
        """
        return self._control(ControlOperation.TAG_ADD, pid, agent, start_time, int(flags))

    def flag(self, pid: int, agent: int, start_time: int, on: int = 0, off: int = 0) -> bool:
        """Set flags of a tag and clear others; False where the pid is not this very process of this agent."""
        return self._control(ControlOperation.TAG_FLAGS, pid, agent, start_time, int(on), int(off))

    def delete(self, pid: int) -> bool:
        """Take a process's tag; False where there is none."""
        return self._control(ControlOperation.TAG_DELETE, pid)

    def items(self) -> Iterator[tuple[int, Tag]]:
        """(pid, tag) of all."""
        for key, value in self._map.items():
            yield _PID.unpack(key)[0], TagValue(*abi.TAG.unpack(value))


class Untagged:
    """Agents' processes that found no place in the tag hash, up to 4 096 at a time; each of those agents is condemned."""

    def __init__(self, untagged: bpf.Map, count: bpf.Map) -> None:
        self._map = untagged
        self._count = count

    @property
    def count(self) -> int:
        """How many there ever were since the maps were made, also those that found no place here either."""
        value = self._count.lookup(_PID.pack(0))
        return int(_NUMBER.unpack(value)[0]) if value else 0

    def of(self, agent: int) -> set[tuple[int, int]]:
        """(pid, start time) of an agent's that live."""
        if not self.count:
            return set()
        found = ((_PID.unpack(key)[0], UntaggedValue(*abi.UNTAGGED.unpack(value))) for key, value in self._map.items())
        return {(pid, each.start_time) for pid, each in found if each.agent == agent}


class Cgroups:
    """Which cgroup (id on the default hierarchy) belongs to which agent."""

    def __init__(self, cgroups: bpf.Map, control: Control) -> None:
        self._map = cgroups
        self._control = control

    def add(self, cgroup_id: int, agent: int) -> bool:
        """Enrol a cgroup and what is below it; False when another agent has it, as the first owner stays, or when the map is
        full (4 096)."""
        return self._control(ControlOperation.CGROUP_ADD, cgroup_id, agent)

    def delete(self, cgroup_id: int) -> bool:
        """Release a cgroup; False where there is none."""
        return self._control(ControlOperation.CGROUP_DELETE, cgroup_id)

    def items(self) -> Iterator[tuple[int, int]]:
        """(cgroup id, agent) of all."""
        for key, value in self._map.items():
            yield _NUMBER.unpack(key)[0], abi.CGROUP.unpack(value)[0]


class Agents:
    """What the hooks know of each agent."""

    def __init__(self, agents: bpf.Map, control: Control) -> None:
        self._map = agents
        self._control = control

    def get(self, agent: int) -> AgentState | None:
        """An agent's state; None for an unknown one."""
        value = self._map.lookup(_NUMBER.pack(agent))
        return AgentValue(*abi.AGENT.unpack(value)) if value else None

    def put(self, agent: int, cgroup_id: int, flags: int) -> bool:
        """Make an agent, or change its cgroup and flags; its count of tasks stays. False when the map is full (4 096)."""
        return self._control(ControlOperation.AGENT_PUT, agent, cgroup_id, int(flags))

    def set_flags(self, agent: int, on: int = 0, off: int = 0) -> bool:
        """Set flags and clear others; False for an unknown agent."""
        return self._control(ControlOperation.AGENT_FLAGS, agent, int(on), int(off))

    def delete(self, agent: int) -> bool:
        """Forget an agent; False for an unknown one."""
        return self._control(ControlOperation.AGENT_DELETE, agent)

    def items(self) -> Iterator[tuple[int, AgentState]]:
        """(agent, state) of all."""
        for key, value in self._map.items():
            yield _NUMBER.unpack(key)[0], AgentValue(*abi.AGENT.unpack(value))


class Allows:
    """What isolated agents may still reach: an LPM trie over (family, agent, network), most specific network first."""

    def __init__(self, allows: bpf.Map, control: Control) -> None:
        self._map = allows
        self._control = control

    def replace(self, agent: int, entries: Mapping[Network, Collection[int]]) -> None:
        """Make these an agent's only ones: networks, each with its ports (host order), none for any.

        Raises:
            OSError: the trie is full (65 536 entries of all agents).
        """
        wanted = {_allow_key(agent, network): _allow_value(ports) for network, ports in entries.items()}
        for key, value in wanted.items():
            self._map.update(key, value)
        for key, _ in self._map.items():
            if abi.ALLOW_KEY.unpack(key)[2] == agent and key not in wanted:
                self._map.delete(key)

    def nobody_is_isolated(self) -> None:
        """No packet pays for a look into the agents map any more."""
        self._control(ControlOperation.ISOLATING_OFF)


def _allow_key(agent: int, network: Network) -> bytes:
    family, fixed = (socket.AF_INET if network.version == 4 else socket.AF_INET6), 96
    return abi.ALLOW_KEY.pack(fixed + network.prefixlen, family, agent, network.network_address.packed.ljust(16, b"\0"))


def _allow_value(ports: Collection[int]) -> bytes:
    padded = sorted(ports) + [0] * (Limit.ALLOW_PORTS - len(ports))
    return abi.ALLOW.pack(len(ports), *padded)


class Losses:
    """Records that were dropped."""

    def __init__(self, losses: bpf.Map, agents: bpf.Map) -> None:
        """`agents` tells whose counts may go one day."""
        self._map = losses
        self._agents = agents
        self._before: dict[tuple[int, int, int], int] = {}

    def reserve(self) -> None:
        """Make nobody's entries, which take what finds no place of its own once the map is full."""
        for event_class in EventClass:
            for reason in LossReason:
                self._map.update(abi.ACCOUNT.pack(0, event_class, reason), _NUMBER.pack(0), bpf.NOEXIST)

    def read(self) -> dict[tuple[int, int, int], int]:
        """Cumulative counts since the maps were made, by (agent, event class, reason); agent 0 when the map was full."""
        found = {abi.ACCOUNT.unpack(key): _NUMBER.unpack(value)[0] for key, value in self._map.items()}
        if len(found) > self._map.max_entries // 2:
            self._tidy(found)
        self._before = {account: count for account, count in found.items() if count}
        return dict(self._before)

    def _tidy(self, found: dict[tuple[int, int, int], int]) -> None:
        """Make room: counts of agents that are gone, once a second reading found them as they were."""
        for account, count in found.items():
            agent = account[0]
            if agent and self._before.get(account) == count and self._agents.lookup(_NUMBER.pack(agent)) is None:
                last = self._map.pop(abi.ACCOUNT.pack(*account))
                found[account] = _NUMBER.unpack(last)[0] if last else count


class Config:
    """hook_config: what the hooks read of the sensor's settings."""

    def __init__(self, config: bpf.Map) -> None:
        self._map = config
        self.written: abi.ConfigValue | None = None
        """What this sensor has written; None as long as it has not."""

    def read(self) -> abi.ConfigValue:
        """As it is now; all zero in a map that was just made."""
        return abi.ConfigValue(*abi.CONFIG.unpack(self._map.lookup(_PID.pack(0)) or bytes(abi.CONFIG.size)))

    def write(self, config: abi.ConfigValue) -> None:
        """Replace it."""
        self.written = config
        self._map.update(_PID.pack(0), abi.CONFIG.pack(*config))

    def guard(self, daemons: Mapping[Guarded, tuple[int, int]]) -> None:
        """Have signals of agents to these processes recorded: (pid, start time). A call that changes nothing does nothing."""
        times = {f"guarded_start_time{place}": daemons.get(place, (0, 0))[1] for place in Guarded}
        pids = {f"guarded_pid{place}": daemons.get(place, (0, 0))[0] for place in Guarded}
        before = self.written or self.read()
        after = before._replace(**times, **pids)
        if after != before:
            self.write(after)


def opened(fds: dict[str, int]) -> dict[str, bpf.Map]:
    """Maps by name, over descriptors of their own."""
    return {name: bpf.Map(os.dup(fd)) for name, fd in fds.items()}
