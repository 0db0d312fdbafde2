"""Enrolment: from here on a process and everything that descends from it belong to an agent.

The order matters. The registry learns of the agent first, so that a sensor that is killed half-way finds what it
began. The agent and its cgroup stand in the kernel's maps before the first tag, so that no hook ever meets a tag
without its agent. The tag stands before the move into the cgroup, so that the join hook sees one of the agent's own
and no stranger.

A living tree is tagged from the root down, round by round, until a round finds nobody: a child born of a tagged
parent has its tag from the fork hook, a child born before is in the kernel's next list. Blind spot: a child that is
made between the list and its parent's tag, by a parent that ends within that same millisecond, has lost its parentage
before anybody could ask for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rubicon.v1 import event_pb2, process_pb2
from rubicon.v1.ids import agent_number, new_agent_id
from rubicon.v1.instance import Instance
from sensor.act import processes
from sensor.act.cgroup import Cgroup, mount, of_process
from sensor.act.protect import refuse_sensor
from sensor.act.registry import Living, Registry, checked_labels, checked_name
from sensor.errors import (
    AlreadyEnrolled,
    CgroupNotFound,
    InvalidArgument,
    ProcessNotFound,
    SensorError,
)
from sensor.kernel.enums import AgentFlag, TagFlag

if TYPE_CHECKING:
    from sensor.kernel.loader import Kernel
    from sensor.settings import EnrolSettings

Emit = Callable[[event_pb2.Event], None]
Snapshot = Callable[[Iterable[int]], Iterable[event_pb2.Event]]
"""Events that describe processes as /proc shows them; those that ended are left out. It may block for seconds."""


@dataclass(slots=True)
class Facts:
    """What whoever enrols says about the agent; nothing of it is believed by the kernel side."""

    agent_id: str = ""
    """Chosen by the plane, or empty for a fresh one."""
    name: str = ""
    """Empty for the id."""
    labels: dict[str, str] = field(default_factory=dict)
    on_alert: str = "monitor"
    command: list[str] = field(default_factory=list)
    enrolled_by: str = ""


class Enroller:
    """Makes agents. Every method blocks for some milliseconds and may be called from any thread."""

    def __init__(
        self,
        kernel: Kernel,
        emit: Emit,
        instance: Instance,
        registry: Registry,
        settings: EnrolSettings,
        snapshot: Snapshot,
    ) -> None:
        self.kernel = kernel
        self.emit = emit
        self.instance = instance
        self.registry = registry
        self.settings = settings
        self.snapshot = snapshot
        self.lock = threading.RLock()
        """Held while an agent is made or ended, so that neither sees the other half done."""

    def launch(self, pid: int, facts: Facts, start_time: int = 0) -> Living:
        """Enrol a process that waits to be released and has not executed CMD yet; it gets a cgroup of its own.

        Raises:
            ProcessNotFound: it ended, or `start_time` (boot-time ns, 0 for whoever has the pid) is another's.
            AlreadyEnrolled: it belongs to an agent.
            AgentNameTaken: a living agent has this name.
            TargetProtected: it is the sensor, or the sensor descends from it.
            CgroupNotFound: there is no v2 hierarchy, or it refuses.
        """
        return self._enrol(pid, start_time, facts, move=True, describe=False)

    def enrol_process(self, pid: int, facts: Facts, start_time: int = 0) -> Living:
        """Enrol a living process and its descendants; errors as for `launch`.

        It gets a cgroup of its own when settings.move says so; otherwise the per-packet programs follow its sockets
        from the root cgroup while it lives.
        """
        move = self.settings.move == "always" or (self.settings.move == "auto" and not of_process(pid).limited())
        return self._enrol(pid, start_time, facts, move=move, describe=True)

    def enrol_cgroup(self, path: str, facts: Facts) -> Living:
        """Enrol whoever is in a cgroup (a container's) or enters it from now on.

        Raises:
            CgroupNotFound: no such cgroup.
            AlreadyEnrolled: it, one above or one below belongs to an agent.
            AgentNameTaken: a living agent has this name.
            InvalidArgument: the hierarchy's root.
            TargetProtected: the sensor is in it.
        """
        root = mount()
        cgroup = Cgroup.at(path, root)
        if cgroup.path == "/":
            raise InvalidArgument("the root cgroup holds the whole host: give a cgroup of the agent's own")
        if not cgroup.exists:
            raise CgroupNotFound(f"no cgroup {cgroup.path} on the v2 hierarchy at {root}")
        refuse_sensor(cgroup=cgroup)
        with self.lock:
            above = {parent.stat().st_ino for parent in cgroup.folder.parents if parent.is_relative_to(root)}
            if (above | cgroup.ids()) & {cgroup_id for cgroup_id, _ in self.kernel.cgroups.items()}:
                raise AlreadyEnrolled(f"cgroup {cgroup.path} or one above or below it belongs to an agent")
            agent = self._register(facts, cgroup, owned=False)
            try:
                self._take(agent, cgroup)
                self._gather_cgroup(agent, cgroup)
                self.kernel.tag_sockets(agent.number)
            except BaseException:
                self.forget(agent)
                raise
            self.announce(agent)
        self.describe(agent)
        return agent

    def announce(self, agent: Living) -> None:
        """Emit the Enrol event of a living agent."""
        enrol = event_pb2.Enrol(
            name=agent.name,
            labels=agent.labels,
            cgroup_ids=[agent.cgroup_id] if agent.cgroup_id else [],
            cgroup_path=agent.cgroup_path,
            cgroup_owned=agent.cgroup_owned,
            on_alert=agent.on_alert,
            enrolled_by=agent.enrolled_by,
            command=agent.command,
        )
        event = event_pb2.Event(time_ns=agent.started_ns, agent_id=agent.id, enrol=enrol)
        if agent.root_pid:
            root = process_pb2.ProcessKey(pid=agent.root_pid, start_time_ns=agent.root_start_time)
            event.enrol.root.CopyFrom(root)
            event.process.CopyFrom(root)
        self.emit(event)

    def describe(self, agent: Living) -> None:
        """Emit what its living processes are. Call it without the lock: a hostile process can make reads of it hang."""
        members = sorted(
            (task for task in self.kernel.tasks() if task.agent == agent.number), key=lambda t: t.start_time
        )
        for described in self.snapshot(task.pid for task in members):
            if described.agent_id == agent.id:
                self.emit(described)

    def cgroup(self, agent: Living) -> Cgroup | None:
        """The agent's cgroup; None when it shares one."""
        return Cgroup.at(agent.cgroup_path) if agent.cgroup_path else None

    def rewatch(self, agent: Living) -> None:
        """After a start: the per-packet programs on its cgroup are those of this version, and are there at all."""
        cgroup = self.cgroup(agent)
        if cgroup and cgroup.exists and agent.cgroup_id:
            self.kernel.watch_cgroup(str(cgroup.folder), agent.number)

    def retake(self, agent: Living) -> bool:
        """Put an agent back into the kernel's maps after they were removed; False when its cgroup is empty."""
        with self.lock:
            cgroup = self.cgroup(agent)
            if not cgroup or not cgroup.processes():
                return False
            agent.cgroup_id = cgroup.id
            self._take(agent, cgroup)
            self._gather_cgroup(agent, cgroup)
            self.kernel.tag_sockets(agent.number)
            return True

    def forget(self, agent: Living) -> None:
        """Undo everything that stands in the kernel for an agent: tags, cgroup, programs, registry. Emits nothing."""
        with self.lock:
            self.kernel.cgroups.delete(agent.cgroup_id)
            while members := [task for task in self.kernel.tasks() if task.agent == agent.number]:
                for task in members:
                    self.kernel.tags.delete(task.pid)
            self.clear(agent)
            self.registry.remove(agent.id)

    def _tell_of(self, agent: Living, reason: str) -> None:
        """Emit beginning and end of an agent whose enrolment failed. While it was tagged it may have left records (a
        fork, its exit), from which the plane knows it; nothing else would tell that it has ended."""
        self.announce(agent)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.emit(event_pb2.Event(time_ns=now, agent_id=agent.id, finish=event_pb2.Finish(reason=reason)))

    def clear(self, agent: Living) -> None:
        """Remove an agent without living processes from the kernel's maps, and its cgroup when we made it."""
        if agent.cgroup_id:
            self.kernel.cgroups.delete(agent.cgroup_id)
            self.kernel.unwatch_cgroup(agent.number)
        self.kernel.agents.delete(agent.number)
        self.kernel.allows.replace(agent.number, {})
        cgroup = self.cgroup(agent)
        if cgroup and agent.cgroup_owned:
            self.registry.leave(cgroup.path, behind=not cgroup.remove())

    def _enrol(self, pid: int, start_time: int, facts: Facts, *, move: bool, describe: bool) -> Living:
        with self.lock, processes.pinned(pid) as pidfd:
            task = self.kernel.task(pid)
            # the pidfd was there before the look-up and lives after it: both are the same process
            if task is None or not processes.alive(pidfd) or (start_time and task.start_time != start_time):
                raise ProcessNotFound(f"process {pid} does not exist, or its pid was given to another")
            if task.agent:
                raise AlreadyEnrolled(
                    f"process {pid} already belongs to agent {task.agent:012x}: the first owner stays"
                )
            refuse_sensor(tasks=self.kernel.tasks(), pid=pid)
            agent = self._register(facts, None, owned=move, root=processes.key(task))
            tagged = False
            try:
                cgroup = self.cgroup(agent)
                if cgroup:
                    cgroup.make()
                    agent.cgroup_id = cgroup.id
                self._take(agent, cgroup)
                tagged = self._tag(agent, processes.key(task), int(TagFlag.ROOT))
                if not tagged:
                    raise AlreadyEnrolled(
                        f"process {pid} was enrolled by somebody else meanwhile: the first owner stays"
                    )
                self._gather_tree(agent, cgroup)
                self.kernel.tag_sockets(agent.number)
                if not processes.alive(pidfd) and describe is False:
                    raise ProcessNotFound(f"process {pid} ended while it was enrolled")
            except BaseException:
                self.forget(agent)
                if tagged:
                    self._tell_of(agent, "finished" if processes.alive(pidfd) else "exited")
                raise
            self.announce(agent)
        if describe:
            self.describe(agent)
        return agent

    def _register(self, facts: Facts, cgroup: Cgroup | None, *, owned: bool, root: processes.Key = (0, 0)) -> Living:
        agent_id = facts.agent_id or new_agent_id()
        if facts.on_alert not in ("", "monitor", "kill"):
            raise InvalidArgument(f"on_alert {facts.on_alert!r}: use 'monitor' or 'kill'")
        try:
            number = agent_number(agent_id)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        agent = Living(
            id=agent_id,
            name=checked_name(facts.name, agent_id),
            number=number,
            labels=checked_labels(facts.labels),
            on_alert=facts.on_alert or "monitor",
            command=list(facts.command),
            enrolled_by=facts.enrolled_by,
            root_pid=root[0],
            root_start_time=root[1],
            cgroup_path=cgroup.path if cgroup else f"/{self.instance.cgroup}/{agent_id}" if owned else "",
            cgroup_id=cgroup.id if cgroup else 0,
            cgroup_owned=owned,
            started_at=time.time(),
            started_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        )
        self.registry.add(agent)
        return agent

    def _take(self, agent: Living, cgroup: Cgroup | None) -> None:
        flags = int(AgentFlag.OWN_CGROUP) if cgroup else 0
        if not self.kernel.agents.put(agent.number, agent.cgroup_id, flags):
            raise SensorError(
                "this host has as many agents as the kernel's map holds (4 096): wait until some have ended"
            )
        if cgroup:
            if not self.kernel.cgroups.add(agent.cgroup_id, agent.number):
                raise AlreadyEnrolled(f"cgroup {cgroup.path} already belongs to an agent: the first owner stays")
            self.kernel.watch_cgroup(str(cgroup.folder), agent.number)
            self.registry.change(agent.id, cgroup_id=agent.cgroup_id)
        else:
            self.kernel.follow_leavers(True)

    def _tag(self, agent: Living, process: processes.Key, flags: int) -> bool:
        """Tag one process; False when another agent has it or it ended."""
        pid, start_time = process
        if self.kernel.tags.add(pid, agent.number, start_time, flags):
            # Whoever ended between the list and the tag has left a tag that no exit hook will remove.
            task = self.kernel.task(pid)
            if task is None or task.start_time != start_time:
                self.kernel.tags.delete(pid)
                return False
            return True
        tag = self.kernel.tags.get(pid)
        return tag is not None and tag.agent == agent.number and tag.start_time == start_time

    def _gather_tree(self, agent: Living, cgroup: Cgroup | None) -> None:
        deadline = time.monotonic() + self.settings.gather_s
        mine: set[processes.Key] = {(agent.root_pid, agent.root_start_time)}
        while True:
            tasks = self.kernel.tasks()
            members = [task for task in tasks if task.agent == agent.number]
            mine.update(processes.key(task) for task in members)
            fresh = [task for task in processes.family(tasks, mine) if not task.agent and task.state not in "ZX"]
            fresh = [task for task in fresh if self._tag(agent, processes.key(task), 0)]
            mine.update(processes.key(task) for task in fresh)
            outside: list[processes.Task] = []
            if cgroup:
                inside = cgroup.ids()
                outside = [
                    task for task in (*members, *fresh) if task.cgroup_id not in inside and task.state not in "ZX"
                ]
                for task in outside:
                    with contextlib.suppress(ProcessNotFound):
                        cgroup.move(task.pid)
            if not fresh and not outside:
                return
            if time.monotonic() > deadline:
                raise SensorError(f"agent {agent.id} forks faster than it can be enrolled: enrol its cgroup instead")

    def _gather_cgroup(self, agent: Living, cgroup: Cgroup) -> None:
        deadline = time.monotonic() + self.settings.gather_s
        while True:
            inside = cgroup.ids()
            fresh = [
                task
                for task in self.kernel.tasks()
                if task.cgroup_id in inside and not task.agent and task.state not in "ZX"
            ]
            if not [task for task in fresh if self._tag(agent, processes.key(task), int(TagFlag.JOINED))]:
                return
            if time.monotonic() > deadline:
                raise SensorError(f"cgroup {cgroup.path} forks faster than it can be enrolled")
