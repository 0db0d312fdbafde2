"""Living processes that have lost their tag: no hook and no sensor takes one from a process that lives.

Who was tagged at the last look, lives at this one under the same start time and has no tag, has lost it. It is tagged again. An
exit takes the tag first and ends the process later, so a process that is on its way out (PF_EXITING in every thread) is left
alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sensor.act.processes import Key, key
from sensor.kernel.maps import Tags
from sensor.kernel.tasks import Task

_EXITING = 0x4
"""PF_EXITING in include/linux/sched.h; field 9 of /proc/PID/stat."""


class LostTags:
    """One thread calls."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags
        self._before: dict[Key, tuple[int, int]] = {}

    def look(self, tasks: Iterable[Task], agents: Mapping[int, object]) -> list[tuple[Task, int]]:
        """Processes that have lost their tag since the last look, each with its agent; they have it again.

        Args:
            agents: by number, those that live; a tag goes with its agent.
        """
        now: dict[Key, tuple[int, int]] = {}
        lost = []
        for task in tasks:
            if task.agent:
                now[key(task)] = task.agent, task.flags
                continue
            agent, flags = self._before.get(key(task), (0, 0))
            if not agent or agent not in agents or task.state in "ZX" or exiting(task.pid):
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
