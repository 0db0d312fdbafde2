"""All processes of the host, from the kernel's own task iterator."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from sensor.kernel import abi, bpf
from sensor.kernel.programs import AttachType


@dataclass(frozen=True, slots=True)
class Task:
    """A thread group. Times are CLOCK_BOOTTIME nanoseconds; pids are those of the initial namespace."""

    pid: int
    start_time: int
    parent_pid: int
    parent_start_time: int
    agent: int
    """0 for a process that is nobody's."""
    cgroup_id: int
    """On the default (v2) hierarchy."""
    state: str
    """A letter as in /proc/PID/stat; Z and X only when no thread of the group lives."""
    comm: str
    flags: int
    """enum tag_flag; 0 when not tagged."""


class Tasks:
    """Runs the iterator."""

    def __init__(self, program: int) -> None:
        self._program = program
        self._one = True

    def all(self) -> list[Task]:
        """Every thread group, kernel threads too, by pid. One that is made meanwhile may be missing."""
        return _parsed(bpf.iterate(self._program, AttachType.TRACE_ITER))

    def get(self, pid: int) -> Task | None:
        """One thread group; None when there is none of this pid."""
        if self._one and pid > 0:
            try:
                found = _parsed(bpf.iterate(self._program, AttachType.TRACE_ITER, pid))
            except ProcessLookupError:
                return None
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.E2BIG):
                    raise
                self._one = False  # before f0d74c4da1f0 ("bpf: Parameterize task iterators", 6.1)
            else:
                return next((task for task in found if task.pid == pid), None)
        return next((task for task in self.all() if task.pid == pid), None)


def _parsed(data: bytes) -> list[Task]:
    return [
        Task(
            pid=entry.pid,
            start_time=entry.start_time,
            parent_pid=entry.parent_pid,
            parent_start_time=entry.parent_start_time,
            agent=entry.agent,
            cgroup_id=entry.cgroup_id,
            state=chr(entry.state),
            comm=entry.comm.split(b"\0", 1)[0].decode(errors="backslashreplace"),
            flags=entry.flags,
        )
        for entry in map(abi.TaskValue._make, abi.TASK.iter_unpack(data))
    ]
