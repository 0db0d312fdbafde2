"""The daemons' place in the scheduler: before ordinary processes, so that an agent which burns every core delays no kill.

Measured with a 64-way fork bomb on two cores, at the sensor, from request to verified: 0.07 to 0.16 s as SCHED_RR, up to 4 s
as an ordinary process, also at nice -20: whichever thread holds the interpreter's lock waits in one queue with the bomb. So it
is all threads or none. At the plane, against 500 forkers at nice -15, a call waited 0.2 to 0.4 s before it was even read. The
price is bounded: a thread that runs for a second without ever blocking, which only a defect does, is an ordinary one again for
a while (RLIMIT_RTTIME), and the kernel keeps a share for the others in any case (sched_rt_runtime_us). With less than a crowd
to compete with, it takes no more than the nice value alone.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

RUNAWAY_S = 1.0
"""Seconds that a thread may run without blocking before it counts as a defect."""
RUNAWAY = signal.SIGXCPU
"""What the kernel sends to a thread that exceeds RLIMIT_RTTIME."""
AGAIN_S = 10.0
"""Seconds that a runaway is an ordinary process."""
NICE = -15
"""Where real time is refused, or after a runaway."""
_RLIMIT_RTTIME = 15  # include/uapi/asm-generic/resource.h; in microseconds, and the resource module does not name it


def before_others() -> bool:
    """Put every thread, and those that they make, before ordinary processes; False where that is refused: then only nice."""
    try:
        limit = int(RUNAWAY_S * 1e6)
        resource.setrlimit(_RLIMIT_RTTIME, (limit, resource.RLIM_INFINITY))
        _schedule(os.SCHED_RR, 1)
    except (PermissionError, ValueError):
        like_others()
        return False
    return True


def like_others() -> None:
    """Be an ordinary process again, at NICE where that is allowed."""
    _schedule(os.SCHED_OTHER, 0)
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)


def _schedule(policy: int, priority: int) -> None:
    for entry in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(entry.name), policy, os.sched_param(priority))
