"""Who must not be enrolled or killed by mistake: the sensor, pid 1, and whoever asks."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sensor.act.cgroup import Cgroup
from sensor.act.processes import Key, Task, ancestors
from sensor.errors import TargetProtected


def refuse_sensor(*, tasks: Sequence[Task] = (), pid: int = 0, cgroup: Cgroup | None = None) -> None:
    """Refuse to enrol what holds the sensor: an agent may not watch itself, nor be killed with its watcher.

    Raises:
        TargetProtected: the process is pid 1, the sensor or one it descends from; or the sensor is in the cgroup.
    """
    if cgroup and os.getpid() in cgroup.processes():
        raise TargetProtected(f"cgroup {cgroup.path} holds the sensor itself: give the agent a cgroup of its own")
    if pid == 1 or (pid and any(pid == held for held, _ in ancestors(tasks, os.getpid()))):
        raise TargetProtected(f"process {pid} is the sensor or one it descends from: enrol a process below it")


def protected(tasks: Sequence[Task], caller: Key | None) -> dict[Key, str]:
    """What a kill spares unless it is forced, with the reason in words: pid 1, the caller and its ancestors."""
    spared: dict[Key, str] = {}
    if caller:
        line = ancestors(tasks, caller[0])
        if caller in line:
            spared.update(dict.fromkeys(line, "an ancestor of the caller"))
            spared[caller] = "the caller itself"
    for task in tasks:
        if task.pid == 1:
            spared[task.pid, task.start_time] = "pid 1"
        elif task.pid == os.getpid():
            spared[task.pid, task.start_time] = "the sensor itself"
    return spared
