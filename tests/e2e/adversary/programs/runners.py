"""Processes that try not to stop when they are frozen, each counting into a file of its own: runners.py FOLDER; prints "up"."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_CONT, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 0x4206, 0x4207
FOLDER = Path(sys.argv[1])


def count(name: str) -> None:
    """Without end."""
    number = 0
    while True:
        number += 1
        (FOLDER / name).write_text(str(number))
        time.sleep(0.002)


ROOT = next(line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line)  # noqa: SIM115
MAY_LEAVE = os.access(f"{ROOT}/cgroup.procs", os.W_OK)
"""Not under the launch profile."""


def leave() -> None:
    if MAY_LEAVE:
        Path(ROOT, "cgroup.procs").write_text(str(os.getpid()))


def plain() -> None:
    count("plain")


def left() -> None:
    leave()
    count("left")


def deaf() -> None:
    """It ignores all that can be ignored."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    leave()
    count("deaf")


def without_a_leader() -> None:
    """The first thread has ended; another one goes on."""
    leave()
    threading.Thread(target=count, args=("without-a-leader",)).start()
    LIBC.syscall(60, 0)  # exit, of this thread alone


def traced() -> None:
    """The first thread is stopped by a tracer of its own; another one goes on."""
    leave()
    threading.Thread(target=count, args=("traced",), daemon=True).start()
    me = os.getpid()
    LIBC.prctl(0x59616D61, ctypes.c_ulong(2**64 - 1), 0, 0, 0)
    if os.fork() == 0:
        LIBC.ptrace(PTRACE_SEIZE, me, None, None)
        LIBC.ptrace(PTRACE_INTERRUPT, me, None, None)
        while True:
            time.sleep(1)
    while True:
        time.sleep(1)


def waker() -> None:
    """It wakes all of its own."""
    leave()
    while True:
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and os.getpgid(0) == _group(int(entry)) and int(entry) != os.getpid():
                try:
                    os.kill(int(entry), signal.SIGCONT)
                except OSError:
                    continue
        (FOLDER / "waker").write_text(str(time.monotonic()))


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


os.setpgid(0, 0)
runners = {"plain": plain, "deaf": deaf, "without-a-leader": without_a_leader, "traced": traced, "waker": waker}
if MAY_LEAVE:
    runners["left"] = left
for each in runners.values():
    if os.fork() == 0:
        each()
names = set(runners)
while {path.name for path in FOLDER.iterdir()} != names:
    time.sleep(0.01)
print("up", flush=True)
while True:
    time.sleep(1)
