"""The task iterator: every thread group with its exact start time, its parent, its state and its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from sensor.kernel.tasks import Task

pytestmark = pytest.mark.root

AGENT = 0x7A5C5


@pytest.fixture
def kernel(instance: Instance) -> Iterator[Kernel]:
    opened = Kernel.open(instance, KernelSettings())
    yield opened
    opened.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "60"])
    yield started
    started.kill()
    started.wait()


def _when(kernel: Kernel, pid: int, state: str) -> Task:
    deadline = time.monotonic() + 10
    while True:
        found = kernel.task(pid)
        assert found
        if found.state == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.005)


def test_a_process_as_proc_shows_it(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    task = _when(kernel, child.pid, "S")
    fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    ticks = os.sysconf("SC_CLK_TCK")
    assert task.start_time * ticks // 1_000_000_000 == int(fields[19])
    assert (task.comm, task.parent_pid) == ("sleep", os.getpid())
    us = kernel.task(os.getpid())
    assert us
    assert us.start_time == task.parent_start_time < task.start_time
    assert us.cgroup_id == task.cgroup_id
    assert (task.agent, task.flags) == (0, 0)


def test_all_has_every_process_once(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    pids = [task.pid for task in kernel.tasks()]
    assert len(set(pids)) == len(pids)
    assert {2, os.getpid(), child.pid} <= set(pids), "kthreadd too"


def test_a_thread_is_no_process(kernel: Kernel) -> None:
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        assert thread.native_id not in {task.pid for task in kernel.tasks()}
        assert kernel.task(thread.native_id or 0) is None
    finally:
        held.set()
        thread.join()


def test_no_such_process(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert kernel.task(child.pid) is None
    assert kernel.task(0) is None
    assert kernel.task(-1) is None
    assert kernel.task(1 << 30) is None


def test_states(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    _when(kernel, child.pid, "T")
    os.kill(child.pid, signal.SIGCONT)
    _when(kernel, child.pid, "S")
    os.kill(child.pid, signal.SIGKILL)
    _when(kernel, child.pid, "Z")
    busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        _when(kernel, busy.pid, "R")
    finally:
        busy.kill()
        busy.wait()


def test_a_tag_shows_with_its_flags(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    task = kernel.task(child.pid)
    assert task
    assert kernel.tags.add(child.pid, AGENT, task.start_time, 2)
    tagged = kernel.task(child.pid)
    assert tagged
    assert (tagged.agent, tagged.flags) == (AGENT, 2)


def test_a_tag_of_another_process_of_that_pid_does_not(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    """Pid reuse: a tag counts with its start time only."""
    assert kernel.tags.add(child.pid, AGENT, 1, 0)
    task = kernel.task(child.pid)
    assert task
    assert task.agent == 0


def test_names_of_any_bytes_are_text(kernel: Kernel, tmp_path: Path) -> None:
    program = tmp_path / os.fsdecode(b"\xff\x1b[2J")
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    odd = subprocess.Popen([program, "60"])
    try:
        assert _when(kernel, odd.pid, "S").comm == "\\xff\x1b[2J"
    finally:
        odd.kill()
        odd.wait()
