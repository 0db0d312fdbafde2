"""All processes of the host, from the kernel's own task iterator."""

from __future__ import annotations

import errno
from typing import NamedTuple

from sensor.kernel import abi, bpf
from sensor.kernel.programs import AttachType


class Task(NamedTuple):
    """A thread group. Times are CLOCK_BOOTTIME nanoseconds; pids are those of the initial namespace.

    The fields are those of struct task_entry in its order, as a list has thousands of them and every kill reads several.
    """

    start_time: int
    parent_start_time: int
    agent: int
    """0 for a process that is nobody's."""
    cgroup_id: int
    """On the default (v2) hierarchy."""
    pid: int
    parent_pid: int
    letter: int
    flags: int
    """enum tag_flag; 0 when not tagged."""
    name: bytes

    @property
    def state(self) -> str:
        """A letter as in /proc/PID/stat; Z and X only when no thread of the group lives."""
        return chr(self.letter)

    @property
    def comm(self) -> str:
        """The thread group leader's name."""
        return self.name.split(b"\0", 1)[0].decode(errors="backslashreplace")


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
    return list(map(Task._make, abi.TASK.iter_unpack(data)))
