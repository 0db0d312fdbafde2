"""What the agents of one host share: its clock, who has which pid, and what is about to leave memory."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from controlplane.model.changes import Changes
from controlplane.model.keys import Boot, ProcessKey
from controlplane.model.process import Process
from controlplane.tree.limits import Limits


class Owner(Protocol):
    """The processes of one agent."""

    def release(self, key: ProcessKey) -> None:
        """An ended process has lingered long enough."""

    def pid_reused(self, process: Process, time_ns: int, offset_ns: int, changes: Changes) -> None:
        """A younger process had the pid at this time."""


class _Flows(Protocol):
    def release(self, cookie: int, force: bool) -> bool:
        """A flow has lingered long enough; True when it has not and must be asked about again later."""


class Shared:
    """State of one boot; `sweep` lets go of what has lingered long enough."""

    def __init__(self, boot: Boot, limits: Limits) -> None:
        self.boot = boot
        self.limits = limits
        self.now_ns = 0
        """Newest kernel time seen."""
        self.pids: dict[int, list[Process]] = {}
        """Processes in memory by pid, oldest first: more than one when a pid was reused."""
        self.owners: dict[str, Owner] = {}
        """By agent id."""
        self.gone: dict[ProcessKey, None] = {}
        """Processes that have left memory, oldest first."""
        self.gone_flows: dict[int, None] = {}
        """Cookies of flows that have left memory, oldest first."""
        self.cgroup_paths: dict[int, str] = {}
        self._ended: deque[tuple[int, int, ProcessKey, Owner]] = deque()
        self._ended_bytes = 0
        self._idle: deque[tuple[int, int, _Flows]] = deque()

    def cgroup_path(self, cgroup_id: int, path: str) -> None:
        """Remember a cgroup's path."""
        self.cgroup_paths[cgroup_id] = path
        if len(self.cgroup_paths) > self.limits.cgroup_paths:
            del self.cgroup_paths[next(iter(self.cgroup_paths))]

    def ended(self, owner: Owner, process: Process) -> None:
        """A process has ended: it may leave after a while."""
        weight = sum(map(len, process.image.argv)) + sum(len(a) for image in process.images[:-1] for a in image.argv)
        self._ended.append((process.ended_ns, weight, process.key, owner))
        self._ended_bytes += weight

    def idle(self, owner: _Flows, cookie: int, last_ns: int) -> None:
        """A flow may leave when nothing is heard of it for a while."""
        self._idle.append((last_ns, cookie, owner))

    def bury(self, key: ProcessKey) -> None:
        """Remember a process by key alone."""
        self.gone[key] = None
        if len(self.gone) > self.limits.tombstones:
            del self.gone[next(iter(self.gone))]

    def bury_flow(self, cookie: int) -> None:
        """Remember a flow by its cookie alone."""
        self.gone_flows[cookie] = None
        if len(self.gone_flows) > self.limits.flow_tombstones:
            del self.gone_flows[next(iter(self.gone_flows))]

    def sweep(self) -> None:
        """Let go of what is due. Cheap when nothing is."""
        limits = self.limits
        ended = self._ended
        due = self.now_ns - limits.process_linger_ns
        while ended and (
            ended[0][0] <= due or len(ended) > limits.ended_processes or self._ended_bytes > limits.ended_bytes
        ):
            _, weight, key, processes = ended.popleft()
            self._ended_bytes -= weight
            processes.release(key)
        idle = self._idle
        due = self.now_ns - limits.flow_linger_ns
        while idle and (idle[0][0] <= due or len(idle) > limits.ended_flows):
            force = len(idle) > limits.ended_flows
            _, cookie, flows = idle.popleft()
            if flows.release(cookie, force):
                idle.append((self.now_ns, cookie, flows))
