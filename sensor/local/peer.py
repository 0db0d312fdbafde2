"""Who is at the other end of the local socket, as the kernel says.

SO_PEERCRED gives pid (in this process's pid namespace) and uid at connect time; SO_PEERPIDFD (6.5) gives a pidfd of
that very process, so that its pid cannot be taken over between two looks. Older kernels: a pidfd is opened and the
process must have started before the connection was taken.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from sensor.act.processes import Key, alive, ancestors
from sensor.errors import PermissionRefused, ProcessNotFound

if TYPE_CHECKING:
    from sensor.kernel.loader import Kernel

SO_PEERPIDFD = 77
_CREDENTIALS = struct.Struct("iII")


@dataclass(slots=True)
class Peer:
    """A caller; close it (or use `with`) to give its pidfd back."""

    kernel: Kernel
    pid: int
    uid: int
    gid: int
    pidfd: int
    start_time: int
    """Boot-time nanoseconds."""

    @classmethod
    def of(cls, connection: socket.socket, kernel: Kernel) -> Peer:
        """The caller of a connection.

        Raises:
            PermissionRefused: it is in a pid namespace that this one cannot see into.
            ProcessNotFound: it has ended.
        """
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        pid, uid, gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if pid <= 0:
            raise PermissionRefused("the caller is in a pid namespace that the sensor cannot see: call from the host's")
        try:
            pidfd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        except OSError:
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                raise ProcessNotFound(f"the caller, process {pid}, has ended") from None
        task = kernel.task(pid)
        if task is None or not alive(pidfd) or task.start_time > now:
            os.close(pidfd)
            raise ProcessNotFound(f"the caller, process {pid}, has ended")
        return cls(kernel, pid, uid, gid, pidfd, task.start_time)

    @property
    def key(self) -> Key:
        """Its identity."""
        return self.pid, self.start_time

    @property
    def identity(self) -> str:
        """How audits name it."""
        return f"uid {self.uid} pid {self.pid}"

    @property
    def agent(self) -> int:
        """Number of the agent that it belongs to at this moment, or one of its ancestors does; 0 for none.

        Raises:
            ProcessNotFound: it has ended.
        """
        tag = self.kernel.tags.get(self.pid)
        if not alive(self.pidfd):
            raise ProcessNotFound(f"the caller, process {self.pid}, has ended")
        return int(tag.agent) if tag and tag.start_time == self.start_time else 0

    def is_above(self, pid: int) -> bool:
        """The process of `pid` descends from the caller."""
        return pid != self.pid and self.key in ancestors(self.kernel.tasks(), pid)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self.pidfd)
