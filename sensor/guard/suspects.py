"""Which living agents could undo the sensor: those with a process that has CAP_SYS_ADMIN or CAP_BPF on the host itself.

Known from the exec records, which have the capabilities of each program as it begins, so that one that lives for milliseconds
is known too; and from /proc for who was enrolled while it lived. An agent that had such a process stays one of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from rubicon.v1 import event_pb2
from rubicon.v1.ids import agent_number
from sensor.act.processes import Key, Task

MIGHTY = 1 << 21 | 1 << 39
"""CAP_SYS_ADMIN, CAP_BPF (include/uapi/linux/capability.h)."""
EXAMINED = 64
"""Processes of an agent that are looked at when it is new."""


class Suspects:
    """`saw_exec` is called from the collector's loop, the others from the guard's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._namespace = os.stat("/proc/self/ns/user").st_ino
        self._mighty: dict[int, Key] = {}
        self._examined: set[int] = set()

    def saw_exec(self, event: event_pb2.Event) -> None:
        """Judge a program that has just begun."""
        if event.exec.credentials.capabilities & MIGHTY and event.exec.namespaces.user == self._namespace:
            with self._lock:
                self._mighty[agent_number(event.agent_id)] = (event.process.pid, event.process.start_time_ns)

    def look(self, tasks: Iterable[Task], living: Iterable[int]) -> dict[int, Key]:
        """Agents that could have done it, each with the process that could, the last one that was seen.

        Args:
            living: numbers of the agents that live, or have ended since the last look.
        """
        agents = set(living)
        fresh = agents - self._examined
        self._examined = agents
        looked_at = dict.fromkeys(fresh, 0)
        for task in tasks:
            if looked_at.get(task.agent, EXAMINED) < EXAMINED:
                looked_at[task.agent] += 1
                if self._can(task.pid):
                    with self._lock:
                        self._mighty.setdefault(task.agent, (task.pid, task.start_time))
        with self._lock:
            self._mighty = {agent: process for agent, process in self._mighty.items() if agent in agents}
            return dict(self._mighty)

    def _can(self, pid: int) -> bool:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
            mighty = bool(int(line.split()[1], 16) & MIGHTY)
            return mighty and os.stat(f"/proc/{pid}/ns/user").st_ino == self._namespace
        return False
