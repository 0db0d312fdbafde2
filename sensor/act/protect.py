"""Who must not be enrolled or killed by mistake: the sensor, pid 1, and whoever asks."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sensor.act.cgroup import Cgroup
from sensor.act.hunt import Hunt
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


def shielded(tasks: Sequence[Task]) -> dict[Key, str]:
    """What no kill touches, forced or not, with the reason in words: the sensor, pid 1 and whatever lies between them.

    They are no agent's (`refuse_sensor`), so only a wrong list of descendants could name them; and what descends from
    one of them descends from it by way of half the host.
    """
    line = dict.fromkeys(ancestors(tasks, os.getpid()), "an ancestor of the sensor")
    for pid, start_time in line:
        if pid in (1, os.getpid()):
            line[pid, start_time] = "pid 1" if pid == 1 else "the sensor itself"
    return line


def protected(tasks: Sequence[Task], caller: Key | None) -> dict[Key, str]:
    """What a kill spares unless it is forced, with the reason in words: the caller and its ancestors."""
    line = ancestors(tasks, caller[0]) if caller else set()
    if caller not in line:
        return {}
    return {each: "the caller itself" if each == caller else "an ancestor of the caller" for each in line}


def refuse_protected(hunt: Hunt, caller: Key | None, *, force: bool) -> None:
    """Refuse a target that holds the caller; from now on the hunt leaves out whom nothing may touch.

    Raises:
        TargetProtected: the caller or one of its ancestors is the agent's, and it is not forced.
    """
    tasks = hunt.look()
    hunt.shield(shielded(tasks))
    if force:
        return
    kept = protected(tasks, caller)
    members = {(task.pid, task.start_time): task for task in hunt.members(tasks)}
    for process, why in kept.items():
        task = members.get(process)
        if task and task.agent == hunt.agent.number:
            raise TargetProtected(
                f"the target holds process {task.pid} ({task.comm}): {why}; repeat with force when you mean it"
            )
    # in nobody's tags, only in the plane's list: spare them and do the rest
    hunt.shield(kept)
