"""Kill an agent, or one of its processes with all descendants, so that nothing is left: also against a fork bomb.

An agent: it is condemned in the kernel first (its tasks die at fork and exec, and clone fails while a signal is
pending), so the set can only shrink. Then cgroup.kill where it has a cgroup without strangers, then SIGKILL by pidfd
to whoever is left, round by round, until the kernel's task iterator *and* cgroup.procs show nobody. The set is tags,
plus the agent's cgroups, plus the descendants that the plane's tree knows.

A process with its descendants: condemning would hit the whole agent. Its family is stopped (SIGSTOP reaches a task
before it returns to user mode, so a stopped task forks no more) and herded into a frozen cgroup below the agent's
own, where children are born frozen, until a round finds nobody new; then it is killed.

Signals go through a pidfd that was opened before the identity was checked: never a stranger, whatever becomes of the
pid.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rubicon.v1 import process_pb2, response_pb2
from rubicon.v1.ids import new_id
from sensor.act.condemn import Condemner
from sensor.act.hunt import Hunt
from sensor.act.processes import Key, Task, key
from sensor.act.protect import refuse_protected
from sensor.act.record import Recorder
from sensor.act.registry import Living
from sensor.errors import ProcessNotFound
from sensor.kernel.enums import AgentFlag

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller
    from sensor.settings import KillSettings


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a kill, and why."""

    reason: str = ""
    requested_by: str = ""
    response_id: str = field(default_factory=new_id)
    force: bool = False
    """Also the caller and its ancestors. The sensor, pid 1 and what lies between are spared always."""
    caller: Key | None = None
    descendants: Sequence[Key] = ()
    """Processes that the plane's tree counts to the target."""
    dry_run: bool = False
    """Only say whom it would touch."""
    applied: Callable[[response_pb2.Response], None] = lambda _: None
    """Is told once what was asked for is done and only its proof is missing; called in the thread that does it."""


class Killer:
    """Kills. Every method blocks until it is verified or patience ends; any thread may call."""

    def __init__(self, enroller: Enroller, settings: KillSettings, host: str, boot_id: str) -> None:
        self._enroller = enroller
        self._kernel = enroller.kernel
        self._settings = settings
        self._record = Recorder(host, boot_id)
        self._lock = threading.Lock()
        self._condemner = Condemner(self._kernel.condemning)
        self._active: dict[int, int] = {}
        """Agents being killed, with the number of kills."""
        self.hurry: Callable[[], None] = lambda: None
        """Called when a kill begins."""

    def kill_agent(self, agent: Living, order: Order) -> response_pb2.Response:
        """Kill every process of an agent.

        Raises:
            TargetProtected: pid 1, the caller or one of its ancestors is in the set, and it is not forced.
        """
        started = time.monotonic_ns()
        self.hurry()
        response = self._record.requested(response_pb2.ACTION_KILL, agent, order)
        hunt = self._hunt(agent, order)
        refuse_protected(hunt, order.caller, force=order.force)
        if order.dry_run:
            return self._record.dry_run(response, hunt)
        self._enroller.registry.change(agent.id, condemned=True, response_id=order.response_id, reason=order.reason)
        self._kernel.agents.set_flags(agent.number, on=int(AgentFlag.CONDEMNED))
        with self._condemning(agent):
            response.steps.append("condemned")
            tasks = hunt.look()
            if hunt.kill_cgroup(tasks):
                response.steps.append("cgroup.kill")
            elif hunt.cgroup:
                response.steps.append("no cgroup.kill: a stranger is in the cgroup or this kernel has none")
            self._record.applied(response, order)
            left = self._until_empty(hunt)
        return self._finished(response, hunt, left, started)

    def kill_process(self, agent: Living, target: Key, order: Order) -> response_pb2.Response:
        """Kill one of an agent's processes and whatever descends from it; `target` is (pid, start time).

        Raises:
            ProcessNotFound: it ended, its pid was reused, or it is not the agent's.
            TargetProtected: as for `kill_agent`.
        """
        started = time.monotonic_ns()
        self.hurry()
        response = self._record.requested(response_pb2.ACTION_KILL, agent, order, target)
        hunt = self._hunt(agent, order, target)
        refuse_protected(hunt, order.caller, force=order.force)
        if (
            not any((task.pid, task.start_time) == target for task in hunt.members(hunt.look()))
            and not order.descendants
        ):
            raise ProcessNotFound(
                f"process {target[0]} (start {target[1]}) is not a living process of agent {agent.name}"
            )
        if order.dry_run:
            return self._record.dry_run(response, hunt)
        with self._busy(agent), hunt.pen():
            hunt.stop_all(time.monotonic() + self._settings.patience_s)
            response.steps.append(f"stopped {len(hunt.seen)}")
            if hunt.kill_pen():
                response.steps.append("cgroup.kill")
            self._record.applied(response, order)
            left = self._until_empty(hunt)
        return self._finished(response, hunt, left, started)

    def is_active(self, number: int) -> bool:
        """A kill of this agent (or in it) is under way."""
        with self._lock:
            return number in self._active

    @property
    def is_busy(self) -> bool:
        """Any kill is under way."""
        return bool(self._active)

    def adopt(self) -> None:
        """After a start: the clone tracepoints that an earlier sensor left go, unless somebody condemned lives."""
        with self._lock:
            self._condemner.want(bool(self._active) or self._condemned_live())

    def close(self, timeout: float = 5.0) -> None:
        """Wait (seconds) until the clone tracepoints are as they should be, so that the kernel side can be closed."""
        self._condemner.settle(timeout)

    def _until_empty(self, hunt: Hunt) -> list[Task]:
        """Signal and look until nobody is left or patience ends; who is left."""
        deadline = time.monotonic() + self._settings.patience_s
        pause = 0.0005
        while True:
            left = hunt.members(hunt.look())
            if not left:
                # the iterator may have passed a place before somebody came to it: only two empty looks are one
                left = hunt.members(hunt.look())
            if not left and not hunt.cgroup_members():
                return []
            hunt.kill(left)
            if time.monotonic() > deadline:
                return hunt.members(hunt.look())
            time.sleep(pause)  # dying takes a moment: the exit path of a large process frees its memory first
            pause = min(pause * 1.5, 0.003)

    def _finished(
        self, response: response_pb2.Response, hunt: Hunt, left: Sequence[Task], started: int
    ) -> response_pb2.Response:
        response.killed = len(hunt.seen) - sum((task.pid, task.start_time) in hunt.seen for task in left)
        if hunt.signalled:
            response.steps.append(f"pidfd {hunt.signalled}")
        if not left:
            response.steps.append("task iterator empty")
            if hunt.cgroup:
                response.steps.append("cgroup.procs empty" if not hunt.strangers else "cgroup.procs: strangers only")
            response.state = response_pb2.RESPONSE_STATE_VERIFIED
        else:
            response.state = response_pb2.RESPONSE_STATE_FAILED
            response.error = f"{len(left)} of the target's processes are condemned and not yet dead; they are followed"
            self._record.left(response, ((key(task), task.comm, _why(task)) for task in left))
        response.steps.extend(f"spared {pid}: {why}" for (pid, _), why in sorted(hunt.spared.items()))
        response.finished_at.GetCurrentTime()
        response.elapsed_ns = time.monotonic_ns() - started
        return response

    def _hunt(self, agent: Living, order: Order, target: Key | None = None) -> Hunt:
        return Hunt(self._kernel, agent, self._enroller.cgroup(agent), order.descendants, target)

    def _busy(self, agent: Living) -> _Use:
        return _Use(self, agent.number, condemn=False)

    def _condemning(self, agent: Living) -> _Use:
        return _Use(self, agent.number, condemn=True)

    def enter(self, number: int, *, condemn: bool) -> None:
        """Count a kill in; the clone tracepoints are attached while one condemns."""
        with self._lock:
            self._active[number] = self._active.get(number, 0) + 1
            if condemn:
                self._condemner.want(True)

    def leave(self, number: int, *, condemn: bool) -> None:
        """Count it out; the tracepoints go when no condemned agent has a living task."""
        with self._lock:
            self._active[number] -= 1
            if not self._active[number]:
                del self._active[number]
            if condemn and not self._active and not self._condemned_live():
                self._condemner.want(False)

    def _condemned_live(self) -> bool:
        condemned = {number for number, state in self._kernel.agents.items() if state.flags & AgentFlag.CONDEMNED}
        return bool(condemned) and any(task.agent in condemned for task in self._kernel.tasks())


class _Use:
    """One kill under way."""

    def __init__(self, killer: Killer, number: int, *, condemn: bool) -> None:
        self._killer, self._number, self._condemn = killer, number, condemn

    def __enter__(self) -> None:
        self._killer.enter(self._number, condemn=self._condemn)

    def __exit__(self, *_: object) -> None:
        self._killer.leave(self._number, condemn=self._condemn)


def _why(task: Task) -> str:
    if task.state == "D":
        return "condemned, not yet dead (D state: it waits in the kernel and dies when that ends)"
    return f"condemned, not yet dead (state {task.state})"


def keys(processes: Iterable[process_pb2.ProcessKey]) -> list[Key]:
    """Identities of ProcessKey messages."""
    return [(process.pid, process.start_time_ns) for process in processes]
