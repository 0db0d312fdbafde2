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


def key(task: Task) -> Key:
    """Identity of a task."""
    return task.pid, task.start_time


def parent(task: Task) -> Key:
    """Identity of its parent."""
    return task.parent_pid, task.parent_start_time


def family(tasks: Iterable[Task], seeds: set[Key]) -> list[Task]:
    """Those of `seeds` that live, and everything that descends from a seed, alive or not; parents before children.

    pid 0 and pid 1 are no seeds: the whole host descends from them.
    """
    seeds = {seed for seed in seeds if seed[0] > 1}
    children: dict[Key, list[Task]] = defaultdict(list)
    found: list[Task] = []
    for task in tasks:
        if key(task) in seeds:
            found.append(task)
        else:
            children[parent(task)].append(task)
    for dead in seeds.difference(key(task) for task in found):
        found.extend(children.pop(dead, ()))
    for task in found:  # grows while it is walked
        found.extend(children.pop(key(task), ()))
    return found


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
