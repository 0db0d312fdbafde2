"""Freeze an agent, or one of its processes with all descendants, without its consent; and let it run again.

The kernel's cgroup freezer stops whatever is in the agent's cgroup and is born there. Whoever is elsewhere, or shares a
cgroup with strangers, gets SIGSTOP, round by round, until two looks in a row find nobody running: a stopped task forks no
more, and a process that forked before it stopped is in the next list. Who was stopped by the agent itself before stays so
at the release.

The list shows a process by its first thread. One that a tracer of the agent's own has stopped says nothing about the other
threads, and neither does one that has ended: there every thread is asked.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sensor.act.hunt import Hunt
from sensor.act.processes import Crowd, Task, family, key
from sensor.act.registry import Living
from sensor.errors import InvalidArgument

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller

STOPPED, TRACED = "T", "t"
"""Task states (as in /proc/PID/stat): stopped by a signal, by a tracer."""
FIRST_PAUSE_S = 0.0005
"""Seconds between the first look and the second."""


class Freezer:
    """Freezes and thaws; every method blocks, at most for the patience."""

    def __init__(self, enroller: Enroller, patience_s: float) -> None:
        self._enroller = enroller
        self._registry = enroller.registry
        self._patience_s = patience_s

    def freeze(self, agent: Living, hunt: Hunt, steps: list[str], applied: Callable[[], None]) -> list[Task]:
        """Stop the hunt's target; who still runs when patience ends (a process in D state stops when that ends).

        Args:
            applied: is called once everybody was stopped who was found, before it is verified that nobody runs.
        """
        deadline = time.monotonic() + self._patience_s
        cgroup = hunt.cgroup if not hunt.target and not hunt.shares_cgroup() else None
        if cgroup and cgroup.freeze():
            steps.append("cgroup.freeze")
        else:
            cgroup = None
        quiet, pause = 0, FIRST_PAUSE_S
        while True:
            tasks = hunt.look()
            inside = cgroup.ids() if cgroup else set()
            members = [task for task in hunt.members(tasks) if task.cgroup_id not in inside]
            running = _running(agent, members)
            self._stop(agent, hunt, running)
            if pause == FIRST_PAUSE_S:
                applied()
            settled = not running and (not cgroup or cgroup.frozen)
            quiet = quiet + 1 if settled else 0
            if quiet == 2:  # the list may have passed a place before somebody came to it
                steps.append("no task runs")
                return []
            if time.monotonic() > deadline:
                if running:
                    return running
                late = hunt.members(tasks)  # the freezer does not say who keeps it waiting; a task in D state does
                return [task for task in late if task.state == "D"] or late
            time.sleep(pause)
            pause = min(pause * 1.5, 0.01)

    def thaw(self, agent: Living) -> int:
        """Let it run again; how many were woken by signal."""
        cgroup = self._enroller.cgroup(agent)
        if cgroup:
            cgroup.thaw()
        woken = 0
        hunt = Hunt(self._enroller.kernel, agent, cgroup, (), None)
        wanted = {(pid, start) for pid, start in agent.stopped}
        for task in hunt.look() if wanted else ():
            if key(task) in wanted and hunt.send(task, signal.SIGCONT):
                woken += 1
        self._registry.change(agent.id, stopped=[])
        return woken

    def thaw_part(self, agent: Living, hunt: Hunt, steps: list[str]) -> None:
        """Let one process with its descendants run again. The steps say how many, and how many others stay: also of whom is not
        known any more that they descend from it, because who was between them has ended.

        Raises:
            InvalidArgument: it is frozen with the whole agent, or with a process that it descends from.
        """
        tasks = hunt.look()
        freed = {key(task): task for task in hunt.members(tasks)}
        living = {key(task) for task in tasks if task.state not in "ZX"}
        stopped = [(pid, start) for pid, start in agent.stopped if (pid, start) in living]
        rest = [each for each in stopped if each not in freed]
        if agent.frozen or any(key(task) in freed for task in family(tasks, set(rest))):
            with_whom = f"agent {agent.name}" if agent.frozen else "a process that it descends from"
            raise InvalidArgument(f"it is frozen with {with_whom}: release that")
        woken = sum(hunt.send(freed[each], signal.SIGCONT) for each in stopped if each in freed)
        self._registry.change(agent.id, stopped=[list(each) for each in rest])
        steps.append(f"thawed, {woken} woken by signal" if woken else "nothing was in force")
        if rest:
            steps.append(f"{len(rest)} others of the agent stay frozen")

    def again(self, agent: Living, crowd: Crowd) -> bool:
        """Stop whoever of a frozen agent, or of one whose processes are in part, runs all the same; True when there was
        somebody."""
        if agent.frozen:
            hunt = Hunt(self._enroller.kernel, agent, self._enroller.cgroup(agent), (), None)
        else:
            first, *others = ((pid, start) for pid, start in agent.stopped)
            hunt = Hunt(self._enroller.kernel, agent, None, others, first)
        lost = self._enroller.kernel.untagged.of(agent.number)
        tasks = hunt.look() if lost else crowd.around(agent.number, hunt.cgroup.ids() if hunt.cgroup else ())
        cgroup = hunt.cgroup if hunt.cgroup and not hunt.shares_cgroup(tasks) else None
        thawed = bool(cgroup and cgroup.processes() and not cgroup.frozen)
        if cgroup and thawed:
            cgroup.freeze()
        inside = cgroup.ids() if cgroup else set()
        running = _running(agent, [task for task in hunt.members(tasks) if task.cgroup_id not in inside])
        self._stop(agent, hunt, running)
        return thawed or bool(running)

    def _stop(self, agent: Living, hunt: Hunt, running: Sequence[Task]) -> None:
        if not running:
            return
        known = {(pid, start) for pid, start in agent.stopped}
        fresh = [list(key(task)) for task in running if key(task) not in known]
        if fresh:
            # before the signal: whoever is stopped is woken at the release, whatever becomes of this sensor
            self._registry.change(agent.id, stopped=[*agent.stopped, *fresh])
        for task in running:
            hunt.send(task, signal.SIGSTOP)


def _running(agent: Living, members: Sequence[Task]) -> list[Task]:
    """Who of these has not stopped. Threads are only asked where the first one does not speak for all.

    Whoever has SIGSTOP pending and waits in the kernel (D) stops before its next instruction: a parent in vfork whose
    child has stopped waits for ever.
    """
    signalled = {(pid, start) for pid, start in agent.stopped}

    def stopped(task: Task) -> bool:
        if task.state == STOPPED:
            return True
        if key(task) in signalled:
            return _threads_stopped(task.pid, "TtZXD")
        return task.state == TRACED and _threads_stopped(task.pid, "TtZX")

    return [task for task in members if not stopped(task)]


def _threads_stopped(pid: int, states: str) -> bool:
    """No thread of a process runs, by its word in /proc; a pid that is somebody else's by now is in the next list."""
    try:
        lines = [(each / "stat").read_text() for each in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return all(line.rpartition(")")[2].split()[0] in states for line in lines)
