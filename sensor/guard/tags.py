"""Living processes that have lost their tag: no hook and no sensor takes one from a process that lives.

Who was tagged at the last look and has no tag has lost it. So has an agent's root process, and whoever is in an agent's own
cgroup and no stranger there; but a child, or somebody who joins, is there a moment before its tag, so those must be without one
at two looks. They are tagged again. An exit takes the tag first and ends the process later, so a process that is on its way out
(PF_EXITING in every thread) is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from sensor.act.processes import Key, key
from sensor.kernel.maps import Tags
from sensor.kernel.tasks import Task

_EXITING = 0x4
"""PF_EXITING in include/linux/sched.h; field 9 of /proc/PID/stat."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where an agent's processes are known from."""

    agent: int
    root: Key
    """Its root process; (0, 0) where a cgroup was enrolled."""
    cgroup_id: int
    """Of its own cgroup; 0 for none, or for one that has strangers."""


class LostTags:
    """One thread calls."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags
        self._before: dict[Key, tuple[int, int]] = {}
        self._doubted: set[Key] = set()

    def look(self, tasks: Iterable[Task], agents: Collection[Home]) -> list[tuple[Task, int]]:
        """Processes that have lost their tag since the last look, each with its agent; they have it again.

        Args:
            agents: those that live; a tag goes with its agent.
        """
        living = {home.agent for home in agents}
        roots = {home.root: home.agent for home in agents}
        cgroups = {home.cgroup_id: home.agent for home in agents if home.cgroup_id}
        now: dict[Key, tuple[int, int]] = {}
        lost = []
        doubted, self._doubted = self._doubted, set()
        for task in tasks:
            if task.agent:
                now[key(task)] = task.agent, task.flags
                continue
            agent, flags = self._before.get(key(task), (0, 0))
            by_place = 0 if agent else roots.get(key(task), 0) or cgroups.get(task.cgroup_id, 0)
            agent = agent or by_place
            if agent not in living or task.state in "ZX" or self._tags.get(task.pid) or exiting(task.pid):
                continue
            if by_place and key(task) not in doubted:
                self._doubted.add(key(task))
                continue
            if self._tags.add(task.pid, agent, task.start_time, flags):
                now[key(task)] = agent, flags
                lost.append((task, agent))
        self._before = now
        return lost


def exiting(pid: int) -> bool:
    """Every thread of a process is on its way out, or it is gone."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                fields = (thread / "stat").read_bytes().rpartition(b")")[2].split()
                if not int(fields[6]) & _EXITING:
                    return False
    return True
