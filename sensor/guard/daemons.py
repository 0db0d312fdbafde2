"""The daemons as processes: which they are, who traces one of their threads, and that an agent stops none of them for long.

The supervisor wakes the sensor, the sensor the two others.

A signal is told by the hook (bpf/tamper.bpf.c), which must know whom to look at: sensor, plane and supervisor, by pid and start
time. Tracing leaves no trace in any hook; /proc names the tracer of each thread as long as it traces.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rubicon.v1 import event_pb2
from sensor.kernel.enums import Guarded
from sensor.kernel.loader import Kernel

SUPERVISED = "RUBICON_SUPERVISOR"
"""Variable in which the supervisor says its pid to the daemons that it starts."""
_PEER = struct.Struct("3i")
_ASK_S = 1.0
_WAKE_S = 5.0
"""Seconds after an agent's signal in which a daemon that is stopped is woken: the signal acts after its record."""


class Daemons:
    """`look` is called by one thread, `plane_is_at` by any."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._wake_until = 0.0
        self._pids = {Guarded.SENSOR: os.getpid()}
        if os.environ.get(SUPERVISED) == str(os.getppid()):
            self._pids[Guarded.SUPERVISOR] = os.getppid()

    def plane_is_at(self, path: Path) -> None:
        """Ask the kernel who listens at the plane's socket; nobody where nobody does."""
        pid = 0
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking,
        ):
            asking.settimeout(_ASK_S)
            asking.connect(str(path))
            pid = _PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        with self._lock:
            self._pids[Guarded.PLANE] = pid

    def look(self) -> None:
        """Have the hook look at those that live."""
        with self._lock:
            pids = dict(self._pids)
        found = {}
        for daemon, pid in pids.items():
            task = self._kernel.task(pid) if pid else None
            if task:
                found[daemon] = pid, task.start_time
        self._kernel.config.guard(found)
        with self._lock:
            for daemon, pid in pids.items():
                if daemon not in found and self._pids.get(daemon) == pid:
                    del self._pids[daemon]  # whoever gets that pid now is another
        if time.monotonic() < self._wake_until:
            for daemon, (pid, _) in found.items():
                if daemon is not Guarded.SENSOR and _stopped(pid):
                    os.kill(pid, signal.SIGCONT)

    def saw_signal(self, event: event_pb2.Event) -> None:
        """For the collector: an agent has sent a signal to a daemon. Whom it has stopped goes on; an operator's stop stays."""
        self._wake_until = time.monotonic() + _WAKE_S

    def tracers(self) -> Iterator[tuple[Guarded, int]]:
        """(daemon, pid of who traces one of its threads), each once."""
        with self._lock:
            pids = dict(self._pids)
        for daemon, pid in pids.items():
            for tracer in _tracers(pid):
                yield daemon, tracer


def _tracers(pid: int) -> set[int]:
    found = set()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                for line in (thread / "status").read_text(encoding="utf-8", errors="replace").splitlines():
                    if line.startswith("TracerPid:"):
                        found.add(int(line.split()[1]))
    return found - {0}


def _stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    return False
