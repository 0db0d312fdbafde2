"""The daemons' place in the scheduler: ordinary processes, favoured ones; before all others beside a crowd, and during a stop.

A crowd is an agent that burns every core and more, and it must delay no kill. Measured with a 64-way fork bomb on two cores, at
the sensor, from request to verified: 0.07 to 0.16 s as SCHED_RR, up to 4 s as an ordinary process, also at nice -20: whichever
thread holds the interpreter's lock waits in one queue with the bomb. So it is all threads or none. At the plane, against 500
forkers at nice -15, a call waited 0.2 to 0.4 s before it was even read.

Without a crowd SCHED_RR only costs: a thread that wakes takes the processor on which it last ran, from whoever runs there,
though another may be idle (a fork of an agent's took 218 us instead of 140). With one its price is bounded: a thread that runs
for a second without ever blocking, which only a defect does, is an ordinary one again for a while (RLIMIT_RTTIME), and the
kernel keeps a share for the others in any case (sched_rt_runtime_us).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path

RUNAWAY_S = 1.0
"""Seconds that a thread may run without blocking before it counts as a defect."""
RUNAWAY = signal.SIGXCPU
"""What the kernel sends to a thread that exceeds RLIMIT_RTTIME."""
AGAIN_S = 10.0
"""Seconds that a runaway is an ordinary process."""
NICE = -15
"""Where there is no crowd, where real time is refused, or after a runaway."""
CROWD = 4
"""So many that run or want to, for each processor, are a crowd."""
LOOK_S = 0.2
"""Seconds between two looks for one; what it delays until then is a fraction of a second."""
CALM_S = 1.0
"""Seconds without one, or after a stop has begun, after which it is over."""
_RLIMIT_RTTIME = 15  # include/uapi/asm-generic/resource.h; in microseconds, and the resource module does not name it
_MOST = CROWD * (os.cpu_count() or 1)


def _running(load: bytes) -> int:
    """Threads of this host that run or want to, as /proc/loadavg has them."""
    return int(load.split()[3].partition(b"/")[0])


def begin(pid: int) -> None:
    """Favour a process that has just been started, beside a crowd before all others: an agent that burns every core must not
    keep a sensor from coming back. Its own Place decides about what follows."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        if _running(Path("/proc/loadavg").read_bytes()) > _MOST:
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
        else:
            os.setpriority(os.PRIO_PROCESS, pid, NICE)


class Place:
    """Of this process. All but `hurry` is for the thread of its event loop."""

    def __init__(self) -> None:
        """Be an ordinary process."""
        self.able = _before_others()
        """Real time is allowed here. Where it is not, a stop may take seconds beside a crowd."""
        _like_others()
        self._lock = threading.RLock()  # re-entered by the signal's handler
        self._first = False
        self._asked = 0.0
        self._not_before = 0.0

    async def keep(self) -> None:
        """Take the place that the others ask for, until cancelled."""
        load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                self.look(_running(os.pread(load, 64, 0)), time.monotonic())
                await asyncio.sleep(LOOK_S)
        finally:
            os.close(load)

    def look(self, running: int, now: float) -> None:
        """`running` threads of this host run or want to, at this time in seconds."""
        if running > _MOST:
            self._go_first(now)
            return
        with self._lock:
            if self._first and now >= self._asked + CALM_S:
                self._first = False
                _like_others()

    def hurry(self) -> None:
        """A stop begins: do not wait for the next look. Any thread may call."""
        self._go_first(time.monotonic())

    def ran_away(self) -> None:
        """A thread ran for a second without blocking: a defect, or a machine that stood still. Let others run first."""
        with self._lock:
            self._first = False
            self._not_before = time.monotonic() + AGAIN_S
            _like_others()

    def _go_first(self, now: float) -> None:
        with self._lock:
            self._asked = now
            if self.able and not self._first and now >= self._not_before:
                self._first = _before_others()


def _before_others() -> bool:
    """Put every thread, and those that they make, before ordinary processes; False where that is refused."""
    try:
        limit = int(RUNAWAY_S * 1e6)
        resource.setrlimit(_RLIMIT_RTTIME, (limit, resource.RLIM_INFINITY))
        _schedule(os.SCHED_RR, 1)
    except (PermissionError, ValueError):
        return False
    return True


def _like_others() -> None:
    """Be an ordinary process, at NICE where that is allowed."""
    _schedule(os.SCHED_OTHER, 0)
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)


def _schedule(policy: int, priority: int) -> None:
    for entry in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(entry.name), policy, os.sched_param(priority))
