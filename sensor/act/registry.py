"""The living agents of this host, on disk: a restarted sensor needs the names that the kernel's maps cannot carry."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from rubicon.v1 import names
from sensor.errors import AgentNameTaken, AgentNotFound, InvalidArgument

FORMAT = 1


@dataclass(slots=True)
class Living:
    """One living agent as its enrolment described it."""

    id: str
    """12 hex digits."""
    name: str
    """Unique among the living."""
    number: int
    """The id as the kernel's maps carry it."""
    labels: dict[str, str] = field(default_factory=dict)
    on_alert: str = "monitor"
    """What to do about alerts: "monitor" or "kill"."""
    command: list[str] = field(default_factory=list)
    enrolled_by: str = ""
    """Identity that enrolled it, as attested."""
    root_pid: int = 0
    """pid of the root process in the initial namespace, 0 when a cgroup was enrolled."""
    root_start_time: int = 0
    """Its start time, boot-time nanoseconds."""
    cgroup_path: str = ""
    """Its cgroup on the default hierarchy, or empty when it shares one."""
    cgroup_id: int = 0
    cgroup_owned: bool = False
    """Made by Rubicon, and holds nothing else."""
    started_at: float = 0.0
    """Unix seconds at which it was enrolled."""
    started_ns: int = 0
    """The same moment, boot-time nanoseconds."""
    condemned: bool = False
    """A kill was asked for and has not been verified."""
    response_id: str = ""
    """The response that asked for it."""
    reason: str = ""
    """Why."""
    frozen: bool = False
    """Stopped by a response, until released."""
    freeze_expires_ns: int = 0
    """When that ends by itself, boot-time nanoseconds; 0 for never."""
    stopped: list[list[int]] = field(default_factory=list)
    """Processes that were stopped by signal for it, [pid, start time]: those get SIGCONT at the release."""
    isolated: bool = False
    """Without network by a response, until released; all of it, or the parts."""
    isolated_parts: list[list[int]] = field(default_factory=list)
    """Processes that are isolated alone, each with its descendants, [pid, start time]; empty when the whole agent is."""
    part: int = 0
    """Number of the last isolation of a part, 0 for none yet."""
    isolation_expires_ns: int = 0
    """When that ends by itself, boot-time nanoseconds; 0 for never."""
    isolation: dict[str, Any] = field(default_factory=dict)
    """What it lets through, as rubicon.v1.Isolation's fields."""
    strict_holders: bool = False
    """Whoever gets hold of a socket that no hook governs is killed."""

    @property
    def wholly_isolated(self) -> bool:
        """Not a part of it alone."""
        return self.isolated and not self.isolated_parts

    @property
    def stands(self) -> bool:
        """All of it, or a part, is stopped by a response."""
        return self.frozen or bool(self.stopped)


class Registry:
    """Living agents by id; every change is on disk before it returns. Any thread may call."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Read what an earlier sensor of this boot left; agents of an earlier boot are gone with it."""
        self._path = path
        self._boot_id = boot_id
        self._lock = threading.RLock()
        self._agents: dict[str, Living] = {}
        self._leftovers: list[str] = []
        self._texts: dict[str, orjson.Fragment] = {}
        """Each agent as it stands in the file: a change writes a thousand agents, and turns one into text."""
        try:
            stored = orjson.loads(path.read_bytes())
            if stored["format"] == FORMAT and stored["boot_id"] == boot_id:
                known = {each.name for each in fields(Living)}
                for entry in stored["agents"]:
                    agent = Living(**{name: value for name, value in entry.items() if name in known})
                    self._agents[agent.id] = agent
                    self._texts[agent.id] = orjson.Fragment(orjson.dumps(asdict(agent)))
                self._leftovers = list(stored["leftovers"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError):
            # cut short or written by hand: the kernel's maps still hold what is in force, so start without the names
            path.rename(path.with_suffix(".unreadable"))

    def add(self, agent: Living) -> None:
        """Register a new agent.

        Raises:
            AgentNameTaken: a living agent has this name or id.
        """
        with self._lock:
            taken = next((other for other in self._agents.values() if agent.name in (other.name, other.id)), None)
            if taken or agent.id in self._agents:
                raise AgentNameTaken(
                    f"a living agent is named {agent.name!r}: choose another name, or kill or finish it"
                )
            self._agents[agent.id] = agent
            self._save(agent)

    def remove(self, agent_id: str) -> Living | None:
        """Forget an agent; None when it is not there."""
        with self._lock:
            agent = self._agents.pop(agent_id, None)
            if agent:
                self._texts.pop(agent_id, None)
                self._save()
            return agent

    def change(self, agent_id: str, **values: Any) -> None:
        """Set fields of a living agent; nothing happens when it has ended."""
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent:
                for name, value in values.items():
                    setattr(agent, name, value)
                self._save(agent)

    def find(self, id_or_name: str) -> Living:
        """An agent by id, or else by name.

        Raises:
            AgentNotFound: none lives.
        """
        with self._lock:
            agent = self._agents.get(id_or_name) or next(
                (other for other in self._agents.values() if other.name == id_or_name), None
            )
        if not agent:
            raise AgentNotFound(f"no living agent {id_or_name!r} on this host: 'rubicon ps' lists them")
        return agent

    def by_number(self, number: int) -> Living | None:
        """An agent by the kernel's number."""
        with self._lock:
            return next((agent for agent in self._agents.values() if agent.number == number), None)

    def __iter__(self) -> Iterator[Living]:
        with self._lock:
            return iter(list(self._agents.values()))

    def __len__(self) -> int:
        return len(self._agents)

    @property
    def leftovers(self) -> list[str]:
        """Paths of cgroups that were ours and still hold somebody, to be removed when they are empty."""
        with self._lock:
            return list(self._leftovers)

    def leave(self, cgroup_path: str, *, behind: bool) -> None:
        """Remember (or forget) a cgroup that could not be removed yet."""
        with self._lock:
            if behind and cgroup_path not in self._leftovers:
                self._leftovers.append(cgroup_path)
            elif not behind and cgroup_path in self._leftovers:
                self._leftovers.remove(cgroup_path)
            else:
                return
            self._save()

    def _save(self, changed: Living | None = None) -> None:
        if changed:
            # copied, for what orjson returns keeps the 8 kB in which it wrote
            self._texts[changed.id] = orjson.Fragment(bytes(memoryview(orjson.dumps(asdict(changed)))))
        content = {
            "format": FORMAT,
            "boot_id": self._boot_id,
            "agents": list(self._texts.values()),
            "leftovers": self._leftovers,
        }
        draft = self._path.with_suffix(".partial")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(orjson.dumps(content))
        # no fsync: it is only good for this boot, and what a crash of the sensor loses is nothing
        draft.replace(self._path)


def checked_name(name: str, fallback: str) -> str:
    """A name that fits the rule of rubicon/v1/names.py; without one, the fallback (the agent's id).

    Raises:
        InvalidArgument: it does not.
    """
    if name in ("", fallback):
        return fallback
    try:
        return names.checked(name)
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


def checked_labels(labels: object) -> dict[str, str]:
    """Labels as text to text.

    Raises:
        InvalidArgument: not a mapping of short text, or more than 64 of them.
    """
    if not isinstance(labels, dict) or len(labels) > 64:
        raise InvalidArgument("labels: give at most 64 of KEY=VALUE")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key or len(key) > 128 or len(value) > 1024:
            raise InvalidArgument(f"label {key!r}: keys have 1 to 128 characters, values at most 1024")
    return dict(labels)
