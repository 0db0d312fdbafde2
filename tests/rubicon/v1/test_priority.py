"""The scheduler's order: a daemon before a crowd, and a runaway thread like the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root
PROGRAM = """
import os, signal, sys, threading, time
from rubicon.v1 import priority
place = priority.Place()
assert place.able
signal.signal(priority.RUNAWAY, lambda *_: place.ran_away())
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
crowd, few = priority.CROWD * os.cpu_count() + 1, priority.CROWD * os.cpu_count()
def policies():
    threading.Thread(target=waiting.wait).start()
    return {os.sched_getscheduler(int(each)) for each in os.listdir("/proc/self/task")}
now = time.monotonic()
assert policies() == {os.SCHED_OTHER}
place.look(few, now)
assert policies() == {os.SCHED_OTHER}
place.look(crowd, now)
assert policies() == {os.SCHED_RR}
place.look(few, now + priority.CALM_S / 2)
assert policies() == {os.SCHED_RR}
place.look(few, now + priority.CALM_S)
assert policies() == {os.SCHED_OTHER}
assert os.getpriority(os.PRIO_PROCESS, 0) == priority.NICE
place.hurry()
assert policies() == {os.SCHED_RR}
place.look(few, time.monotonic() + priority.CALM_S)
assert policies() == {os.SCHED_OTHER}
place.look(crowd, now + 2)
assert policies() == {os.SCHED_RR}
end = time.monotonic() + 20
while os.sched_getscheduler(0) == os.SCHED_RR and time.monotonic() < end:
    pass
assert policies() == {os.SCHED_OTHER}
place.look(crowd, time.monotonic())
assert policies() == {os.SCHED_OTHER}
place.look(crowd, time.monotonic() + priority.AGAIN_S)
assert policies() == {os.SCHED_RR}
waiting.set()
"""
REFUSED = """
import ctypes, os
from rubicon.v1 import priority
ctypes.CDLL(None).prctl(24, 23)  # PR_CAPBSET_DROP, CAP_SYS_NICE
os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
place = priority.Place()
assert not place.able
place.look(10**6, 0.0)
assert os.sched_getscheduler(0) == os.SCHED_OTHER
"""
CROWDED = """
import asyncio, os, subprocess, sys, time
from rubicon.v1 import priority
async def first(what, seconds):
    end = time.monotonic() + seconds
    while (os.sched_getscheduler(0) == os.SCHED_RR) is not what:
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)
async def main():
    place = priority.Place()
    kept = asyncio.create_task(place.keep())
    spin = [sys.executable, "-c", "while True: pass"]
    crowd = [subprocess.Popen(spin) for _ in range(priority.CROWD * os.cpu_count() + 2)]
    try:
        await first(True, 20)
    finally:
        for each in crowd: each.kill()
        for each in crowd: each.wait()
    await first(False, 60)
    assert not kept.done()
asyncio.run(main())
"""
BEGUN = """
import os, subprocess
from rubicon.v1 import priority
with subprocess.Popen(["sleep", "60"]) as crowded, subprocess.Popen(["sleep", "60"]) as alone:
    try:
        priority._MOST = -1
        priority.begin(crowded.pid)
        assert os.sched_getscheduler(crowded.pid) == os.SCHED_RR
        priority._MOST = 1 << 30
        priority.begin(alone.pid)
        assert os.sched_getscheduler(alone.pid) == os.SCHED_OTHER
        assert os.getpriority(os.PRIO_PROCESS, alone.pid) == priority.NICE
    finally:
        crowded.kill()
        alone.kill()
for most in (-1, 1 << 30):
    priority._MOST = most
    priority.begin(alone.pid)
"""


@pytest.mark.parametrize("program", [PROGRAM, REFUSED, CROWDED, BEGUN])
def test_every_thread_runs_before_others_while_there_is_a_crowd_and_none_runs_away(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
