"""The processes of one agent."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from controlplane.model.agent import Agent
from controlplane.model.changes import Changes
from controlplane.model.keys import ProcessKey
from controlplane.model.process import Image, Process
from controlplane.tree.image import container_of
from controlplane.tree.shared import Shared


def _image_time(image: Image) -> int:
    return image.time_ns


def _start(process: Process) -> int:
    return process.key.start_time_ns


class Processes:
    """Facts in, tree out; every method merges by kernel time, so the order of calls does not matter.

    A process is reached from its parent and, where that differs (CLONE_PARENT), from its maker. Ends that no record
    tells follow from a younger process with the same pid, or from the end of the agent.
    """

    def __init__(self, agent: Agent, shared: Shared) -> None:
        self.agent = agent
        self.by_key: dict[ProcessKey, Process] = {}
        self._shared = shared
        self._below: dict[ProcessKey, dict[ProcessKey, None]] = {}
        self._held: dict[ProcessKey, None] = {}
        shared.owners[agent.id] = self

    def make(self, key: ProcessKey, offset_ns: int, changes: Changes) -> Process | None:
        """The process, or a placeholder for one that nothing was heard of; None when it has ended and left memory."""
        process = self.by_key.get(key)
        if process is not None:
            changes.process_of[key] = process
            return process
        if key in self._shared.gone:
            return None
        agent = self.agent
        process = Process(self._shared.boot, key, agent.id, key.start_time_ns + offset_ns)
        self.by_key[key] = process
        agent.processes += 1
        agent.processes_total += 1
        process.container = container_of(agent.cgroup_path)
        changes.process_of[key] = process
        changes.agent_of[agent.id] = agent
        self._share_pid(process, offset_ns, changes)
        if agent.ended_ns and not agent.detached:
            self._imply_end(process, agent.ended_ns, offset_ns, changes)
        return process

    def fork(
        self,
        process: Process,
        maker: ProcessKey | None,
        parent: ProcessKey | None,
        time_ns: int,
        changes: Changes,
    ) -> None:
        """The process was made at `time_ns`."""
        process.forked_ns = time_ns
        process.maker = maker
        if maker is not None:
            self._below.setdefault(maker, {})[process.key] = None
        self.parent(process, parent, time_ns)
        self._refresh(process, 0, changes)

    def parent(self, process: Process, parent: ProcessKey | None, time_ns: int) -> None:
        """`parent` was the parent at `time_ns`; the earliest such fact is the tree's, what follows is reparenting."""
        if parent is None or (process.parent is not None and process.parent_ns <= time_ns):
            return
        before = process.parent
        if before is not None and before not in (parent, process.maker):
            self._below.get(before, {}).pop(process.key, None)
        process.parent = parent
        process.parent_ns = time_ns
        self._below.setdefault(parent, {})[process.key] = None

    def exec(self, process: Process, image: Image, changes: Changes) -> None:
        """The process executed a program at image.time_ns."""
        process.execs += 1
        images = process.images
        if not images or images[-1].time_ns <= image.time_ns:
            images.append(image)
        else:
            insort(images, image, key=_image_time)
        if len(images) > self._shared.limits.images:
            del images[0]
            self._keep_bases(process, images[0].time_ns)
        self._refresh(process, image.time_ns, changes)

    def snapshot(self, process: Process, image: Image, changes: Changes) -> None:
        """What /proc showed at image.time_ns; recorded execs say more and come first, whatever their time."""
        if process.inherited is None or process.inherited.time_ns <= image.time_ns:
            process.inherited = image
            self._refresh(process, 0, changes)

    def cgroup(self, process: Process, cgroup_id: int, time_ns: int) -> None:
        """The process was in this cgroup at `time_ns`."""
        if cgroup_id and time_ns >= process.cgroup_ns:
            process.cgroup_ns = time_ns
            if cgroup_id != process.cgroup_id:
                process.cgroup_id = cgroup_id
                self._contain(process)

    def learned_path(self, cgroup_id: int, changes: Changes) -> None:
        """The path of a cgroup (0: of the agent) became known."""
        for process in self.by_key.values():
            before = process.container
            if not cgroup_id or process.cgroup_id == cgroup_id:
                self._contain(process)
                if process.container != before:
                    changes.process_of[process.key] = process

    def exit(self, process: Process, time_ns: int, offset_ns: int, status: int, signal: int, core_dumped: bool) -> None:
        """The last thread ended."""
        if process.exited and process.ended_ns >= time_ns:
            return
        process.exited = True
        process.status, process.signal, process.core_dumped = status, signal, core_dumped
        self._end(process, time_ns, offset_ns)

    def finish(self, time_ns: int, offset_ns: int, changes: Changes) -> None:
        """The agent ended with all its processes: those without a recorded exit ended by now."""
        for process in self.by_key.values():
            self._imply_end(process, time_ns, offset_ns, changes)

    def pid_reused(self, process: Process, time_ns: int, offset_ns: int, changes: Changes) -> None:
        """A younger process had the pid at this time, so this one had ended."""
        if time_ns > process.key.start_time_ns:
            self._imply_end(process, time_ns, offset_ns, changes)

    def above(self, process: Process) -> Process | None:
        """Its parent, else its maker, else who stands in for one that has left memory; None at the agent's edge."""
        for key in (process.parent, process.maker, process.up):
            if key is not None:
                found = self.by_key.get(key)
                if found is not None and found is not process:
                    return found
        return None

    def ancestors(self, key: ProcessKey) -> Iterator[Process]:
        """Parent first."""
        process = self.by_key.get(key)
        met = {key}
        while process is not None:
            process = self.above(process)
            if process is None or process.key in met:
                return
            met.add(process.key)
            yield process

    def descendants(self, key: ProcessKey) -> list[Process]:
        """By start time, then pid; without the process itself."""
        met = {key: None}
        waiting = [key]
        while waiting:
            for child in self._below.get(waiting.pop(), ()):
                if child not in met:
                    met[child] = None
                    waiting.append(child)
        del met[key]
        found = [self.by_key[child] for child in met if child in self.by_key]
        return sorted(found, key=lambda process: (process.key.start_time_ns, process.key.pid))

    def release(self, key: ProcessKey) -> None:
        """An ended process has lingered long enough: forget it, unless descendants in memory need it as their link."""
        process = self.by_key.get(key)
        if process is None or process.alive:
            return
        if self._below.get(key):
            self._held[key] = None
            if len(self._held) > self._shared.limits.held_processes:
                self._skip_over(self.by_key[next(iter(self._held))])
        else:
            self._forget(process)

    def forget_all(self) -> None:
        """The agent leaves memory."""
        for process in list(self.by_key.values()):
            self._unshare_pid(process)
            self._shared.bury(process.key)
        self.by_key.clear()
        self._below.clear()
        self._held.clear()
        self._shared.owners.pop(self.agent.id, None)

    def _forget(self, process: Process | None) -> None:
        waiting = [process]
        while waiting:
            process = waiting.pop()
            if process is None:
                continue
            key = process.key
            del self.by_key[key]
            self._held.pop(key, None)
            self._below.pop(key, None)
            self._unshare_pid(process)
            self._shared.bury(key)
            for link in {process.parent, process.maker, process.up}:
                below = self._below.get(link) if link is not None else None
                if link is None or below is None:
                    continue
                below.pop(key, None)
                if not below:
                    del self._below[link]
                    if link in self._held:
                        waiting.append(self.by_key.get(link))

    def _skip_over(self, process: Process) -> None:
        """Forget an ended process whose descendants stay: they get its own link upwards and its image."""
        above = self.above(process)
        for key in list(self._below.get(process.key, ())):
            child = self.by_key.get(key)
            if child is None:
                continue
            if child.inherited is None and child.maker == process.key:
                child.inherited = child.base
            if above is not None:
                child.up = above.key
                self._below.setdefault(above.key, {})[key] = None
        self.agent.processes_forgotten += 1
        self._forget(process)

    def _base(self, process: Process) -> Image:
        """What a process ran before its first recorded exec."""
        if process.inherited is not None:
            return process.inherited
        maker = self.by_key.get(process.maker) if process.maker is not None else None
        if maker is None:
            return process.base
        for image in reversed(maker.images):
            if image.time_ns <= process.forked_ns:
                return image
        return maker.base

    def _keep_bases(self, maker: Process, before_ns: int) -> None:
        """Children that were made before this time keep what they inherited: their maker no longer knows it."""
        for key in self._below.get(maker.key, ()):
            child = self.by_key.get(key)
            if child is not None and child.maker == maker.key and child.forked_ns < before_ns:
                child.inherited = child.base if child.inherited is None else child.inherited

    def _refresh(self, process: Process, since_ns: int, changes: Changes) -> None:
        """Work out again what a process runs since a time, and what its children do that it made after that.

        Each process remembers its own answer, so a chain of forks costs one step a fork, however long it is.
        """
        waiting = [(process, since_ns)]
        while waiting:
            process, since_ns = waiting.pop()
            base = self._base(process)
            image = process.images[-1] if process.images else base
            if image is not process.image:
                process.image = image
                changes.process_of[process.key] = process
            if base is not process.base:
                process.base = base
                since_ns = 0
            for key in self._below.get(process.key, ()):
                child = self.by_key.get(key)
                if child is None or child.maker != process.key or child.forked_ns < since_ns:
                    continue
                if self._base(child) is not child.base:
                    waiting.append((child, 0))

    def _contain(self, process: Process) -> None:
        path = self._shared.cgroup_paths.get(process.cgroup_id, self.agent.cgroup_path)
        process.container = container_of(path)

    def _end(self, process: Process, time_ns: int, offset_ns: int) -> None:
        if process.alive:
            self.agent.processes -= 1
        process.ended_ns = max(time_ns, 1)
        process.ended_wall_ns = time_ns + offset_ns
        self._shared.ended(self, process)

    def _imply_end(self, process: Process, time_ns: int, offset_ns: int, changes: Changes) -> None:
        time_ns = max(time_ns, process.key.start_time_ns)
        if process.exited or (process.ended_ns and process.ended_ns <= time_ns):
            return
        self._end(process, time_ns, offset_ns)
        changes.process_of[process.key] = process
        changes.agent_of[self.agent.id] = self.agent

    def _share_pid(self, process: Process, offset_ns: int, changes: Changes) -> None:
        """Whoever had the pid before has ended."""
        same = self._shared.pids.setdefault(process.key.pid, [])
        insort(same, process, key=_start)
        if len(same) == 1:
            return
        at = same.index(process)
        if at + 1 < len(same):
            self.pid_reused(process, same[at + 1].key.start_time_ns, offset_ns, changes)
        if at and (owner := self._shared.owners.get(same[at - 1].agent_id)) is not None:
            owner.pid_reused(same[at - 1], process.key.start_time_ns, offset_ns, changes)

    def _unshare_pid(self, process: Process) -> None:
        same = self._shared.pids.get(process.key.pid, [])
        if len(same) > 1:
            same.remove(process)
        else:
            self._shared.pids.pop(process.key.pid, None)
