"""One hunt: who belongs to a kill's target right now, and the signals that reach exactly them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sensor.act.cgroup import Cgroup
from sensor.act.processes import Key, Task, family, key, pinned
from sensor.act.registry import Living
from sensor.errors import CgroupNotFound, ProcessNotFound
from sensor.kernel.enums import AgentFlag

if TYPE_CHECKING:
    from sensor.kernel.loader import Kernel


class Hunt:
    """`seen` is everybody who ever belonged to the target, `spared` who was left out of it and why."""

    def __init__(
        self, kernel: Kernel, agent: Living, cgroup: Cgroup | None, extra: Sequence[Key], target: Key | None
    ) -> None:
        self._kernel = kernel
        self.agent = agent
        self.cgroup = cgroup
        self.target = target
        self._extra = set(extra)
        self._pen: Cgroup | None = None
        self.seen: set[Key] = set()
        self.spared: dict[Key, str] = {}
        self.strangers: set[Key] = set()
        self._shielded: dict[Key, str] = {}
        self._signalled: set[Key] = set()

    @property
    def signalled(self) -> int:
        """Processes that were sent SIGKILL by pidfd."""
        return len(self._signalled)

    def look(self) -> list[Task]:
        """The kernel's list, now."""
        return list(self._kernel.tasks())

    def shield(self, kept: Mapping[Key, str]) -> None:
        """Leave these out, whatever set they are in."""
        self._shielded.update(kept)

    def members(self, tasks: Sequence[Task]) -> list[Task]:
        """Who of these belongs to the target and is not a zombie."""
        wanted = self._extra | ({self.target} if self.target else set())
        self.spared.update({each: why for each, why in self._shielded.items() if each in wanted})
        # nobody is anybody's descendant by way of a shielded process: pid 1 is everybody's ancestor
        pids = {pid for pid, _ in self._shielded}
        open_tasks = [task for task in tasks if task.pid not in pids or key(task) not in self._shielded]
        members = []
        for task in self._family(open_tasks) if self.target else self._everybody(open_tasks):
            if task.state not in "ZX":
                members.append(task)
                self.seen.add(key(task))
        return members

    def _everybody(self, tasks: Sequence[Task]) -> list[Task]:
        number = self.agent.number
        lost = self._kernel.untagged.of(number)
        # a tag goes when an exit begins: whoever was seen is gone when nothing of it is left, its sockets and devices closed
        found = {key(task): task for task in tasks if task.agent == number or key(task) in self.seen}
        if lost:
            found.update({key(task): task for task in tasks if key(task) in lost})
        inside = self.cgroup.ids() if self.cgroup else set()
        housed = [task for task in tasks if task.cgroup_id in inside and not task.agent] if inside else []
        if self._has_stranger():
            self.strangers.update(key(task) for task in housed)
        else:
            found.update({key(task): task for task in housed})
        if self._extra:
            related = family(tasks, self._extra.difference(self._shielded))
            self._extra.update(key(task) for task in related if task.agent in (0, number))
            found.update({key(task): task for task in related if task.agent in (0, number)})
        return list(found.values())

    def _family(self, tasks: Sequence[Task]) -> list[Task]:
        assert self.target
        seeds = {self.target, *self._extra, *self.seen}.difference(self._shielded)
        found = {key(task): task for task in family(tasks, seeds)}
        if self._pen:
            inside = self._pen.ids()
            found.update({key(task): task for task in tasks if task.cgroup_id in inside})
        # a descendant that was enrolled as another agent is that agent's: it is killed by its own name
        return [task for task in found.values() if task.agent in (0, self.agent.number)]

    def _has_stranger(self) -> bool:
        state = self._kernel.agents.get(self.agent.number)
        return bool(state and state.flags & AgentFlag.STRANGER)

    def cgroup_members(self) -> set[int]:
        """Pids that cgroup.procs shows for the target, strangers left out."""
        place = self._pen if self.target else self.cgroup
        if not place:
            return set()
        away = {pid for pid, _ in (*self.strangers, *self._shielded)}
        return {pid for pid in place.processes() if pid not in away}

    def kill_cgroup(self, tasks: Sequence[Task]) -> bool:
        """Use the kernel's kill switch, unless somebody in the cgroup is not the agent's; True when it was used."""
        self.members(tasks)  # whoever is killed by the switch is counted
        if not self.cgroup or self._has_stranger():
            return False
        return not self.shares_cgroup(tasks) and self.cgroup.kill()

    def shares_cgroup(self, tasks: Sequence[Task] | None = None) -> bool:
        """Somebody in the agent's cgroup is not the agent's: what acts on the whole cgroup would hit him too."""
        if not self.cgroup or self._has_stranger():
            return True
        inside = self.cgroup.ids()
        housed = [task for task in (self.look() if tasks is None else tasks) if task.cgroup_id in inside]
        return any(task.agent not in (0, self.agent.number) or key(task) in self._shielded for task in housed)

    def kill(self, members: Sequence[Task]) -> None:
        """SIGKILL each, by pidfd, once: it cannot be lost, and who dies needs the processor."""
        for task in members:
            if key(task) not in self._signalled and self.send(task, signal.SIGKILL):
                self._signalled.add(key(task))

    def stop_all(self, deadline: float) -> None:
        """Stop the family, round by round, until a round finds nobody new, or the deadline (monotonic seconds)."""
        stopped: set[Key] = set()
        while time.monotonic() < deadline:
            fresh = [task for task in self.members(self.look()) if key(task) not in stopped]
            if not fresh:
                return
            for task in fresh:
                self.send(task, signal.SIGSTOP)
                stopped.add(key(task))
                if self._pen:
                    # a pid that was reused since would be a stranger: it is checked again, and moved by nobody but us
                    with contextlib.suppress(ProcessNotFound, CgroupNotFound):
                        if self._is(task):
                            self._pen.move(task.pid)

    def kill_pen(self) -> bool:
        """Use the kernel's kill switch on the pen, unless anybody in it is not of the family; True when it was used."""
        if not self._pen:
            return False
        inside = self._pen.ids()
        tasks = self.look()
        members = {key(task) for task in family(tasks, self.seen.difference(self._shielded))}
        housed = [task for task in tasks if task.cgroup_id in inside]
        if any(key(task) not in members and task.agent != self.agent.number for task in housed):
            return False
        return self._pen.kill()

    @contextlib.contextmanager
    def pen(self) -> Iterator[Cgroup | None]:
        """A frozen cgroup below the agent's own, for the family of a process; None when the agent has no cgroup."""
        if self.cgroup and self.agent.cgroup_owned:
            name = f"kill-{os.urandom(4).hex()}"
            pen = Cgroup(f"{self.cgroup.path}/{name}", self.cgroup.folder / name)
            try:
                pen.make()
                if pen.freeze():
                    self._pen = pen
            except CgroupNotFound:
                self._pen = None
        try:
            yield self._pen
        finally:
            if self._pen:
                self._pen.remove()

    def send(self, task: Task, number: int) -> bool:
        """Signal exactly this process; False when it has ended, whoever has its pid now."""
        try:
            with pinned(task.pid) as pidfd:
                if not self._is(task):
                    return False
                signal.pidfd_send_signal(pidfd, number)
        except (ProcessNotFound, ProcessLookupError):
            return False
        return True

    def _is(self, task: Task) -> bool:
        """The pid still is this process. The tag map answers exactly and at once for whoever is tagged."""
        tag = self._kernel.tags.get(task.pid)
        if tag is not None and tag.start_time == task.start_time:
            return True
        now = self._kernel.task(task.pid)
        return now is not None and now.start_time == task.start_time
