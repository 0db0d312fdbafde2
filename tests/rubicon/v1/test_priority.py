"""The scheduler's order: a daemon before others, and a runaway thread like the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root
PROGRAM = """
import os, signal, sys, threading, time
from rubicon.v1 import priority
ran_away = []
signal.signal(priority.RUNAWAY, lambda *_: (ran_away.append(1), priority.like_others()))
waiting = threading.Event()
old = threading.Thread(target=waiting.wait); old.start()
assert priority.before_others() is True
new = threading.Thread(target=waiting.wait); new.start()
policies = {os.sched_getscheduler(int(each)) for each in os.listdir("/proc/self/task")}
assert policies == {os.SCHED_RR}, policies
end = time.monotonic() + 20
while not ran_away and time.monotonic() < end:
    pass
assert ran_away
assert {os.sched_getscheduler(int(each)) for each in os.listdir("/proc/self/task")} == {os.SCHED_OTHER}
waiting.set()
"""
REFUSED = """
import ctypes, os
from rubicon.v1 import priority
ctypes.CDLL(None).prctl(24, 23)  # PR_CAPBSET_DROP, CAP_SYS_NICE
os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
assert priority.before_others() is False
assert os.sched_getscheduler(0) == os.SCHED_OTHER
"""


@pytest.mark.parametrize("program", [PROGRAM, REFUSED])
def test_every_thread_runs_before_others_until_one_runs_away(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
