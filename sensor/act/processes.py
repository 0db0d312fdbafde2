"""Families among the kernel's list of processes. A process is (pid, start time): never a pid alone."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from sensor.errors import ProcessNotFound

Key = tuple[int, int]
"""pid in the initial namespace, start time in boot-time nanoseconds."""


class Task(Protocol):
    """A thread group as the kernel's task iterator shows it (sensor.kernel)."""

    @property
    def pid(self) -> int: ...
    @property
    def start_time(self) -> int: ...
    @property
    def parent_pid(self) -> int: ...
    @property
    def parent_start_time(self) -> int: ...
    @property
    def agent(self) -> int: ...
    @property
    def cgroup_id(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def comm(self) -> str: ...
    @property
    def flags(self) -> int: ...


def key(task: Task) -> Key:
    """Identity of a task."""
    return task.pid, task.start_time


def family(tasks: Iterable[Task], seeds: set[Key]) -> list[Task]:
    """Those of `seeds` that live, and everything that descends from a seed, alive or not; parents before children.

    pid 0 and pid 1 are no seeds: the whole host descends from them.
    """
    seeds = {seed for seed in seeds if seed[0] > 1}
    pids = {pid for pid, _ in seeds}
    children: dict[int, list[Task]] = defaultdict(list)
    found: list[Task] = []
    for task in tasks:  # thousands, with every look of a kill: pids alone first
        if task.pid in pids and key(task) in seeds:
            found.append(task)
        else:
            children[task.parent_pid].append(task)

    def born_to(process: Key) -> list[Task]:
        born = children.get(process[0], [])
        own = [task for task in born if task.parent_start_time == process[1]]
        children[process[0]] = [task for task in born if task.parent_start_time != process[1]]
        return own

    for dead in seeds.difference(map(key, found)):
        found.extend(born_to(dead))
    for task in found:  # grows while it is walked
        found.extend(born_to(key(task)))
    return found


class Crowd:
    """One look at the host, by agent and by place, for whoever asks about many agents."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._of: dict[int, list[Task]] = defaultdict(list)
        self._at: dict[int, list[Task]] = defaultdict(list)
        for task in tasks:
            self._of[task.agent].append(task)
            self._at[task.cgroup_id].append(task)

    def around(self, agent: int, places: Iterable[int]) -> list[Task]:
        """An agent's tagged processes, and whoever is in one of these cgroups (ids)."""
        found = self._of.get(agent, []) if agent else []
        return found + [task for place in places for task in self._at.get(place, ()) if task.agent != agent]


def ancestors(tasks: Iterable[Task], pid: int) -> set[Key]:
    """A process and its ancestors up to pid 1, without pid 0."""
    by_pid = {task.pid: task for task in tasks}
    line: set[Key] = set()
    task = by_pid.get(pid)
    while task and key(task) not in line:
        line.add(key(task))
        task = by_pid.get(task.parent_pid)
    return line


@contextmanager
def pinned(pid: int) -> Iterator[int]:
    """A pidfd of a living process: while it is open, signals through it reach that process or nobody.

    Raises:
        ProcessNotFound: there is no such process.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError, OSError):
        raise ProcessNotFound(f"process {pid} does not exist") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def alive(pidfd: int) -> bool:
    """The process of a pidfd has not been reaped."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
