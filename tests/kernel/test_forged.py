"""What a process says of itself (name, arguments, environment, its clock) is evidence, and decides nothing."""

from __future__ import annotations

import time

import pytest

from tests.kernel.watched import AGENT, OTHER, Watched, until

pytestmark = pytest.mark.root

_FORGE = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x80) == 0, os.strerror(ctypes.get_errno())   # CLONE_NEWTIME
open("/proc/self/timens_offsets", "w").write("boottime 8640000 0\\nmonotonic 8640000 0\\n")
if os.fork() == 0:
    assert time_of() > 8640000
    open("/proc/self/comm", "w").write("rubicon-sensor")
    forged = {{"RUBICON_AGENT": "{OTHER:x}", "RUBICON_INSTANCE": "other", "HOME": "/nowhere", "TRACEPARENT": "00-0-0-00"}}
    os.execve("/bin/true", ["rubicon-sensor", "--of", "another"], forged)
os.wait()
"""


def test_forged_name_arguments_environment_and_clock(watched: Watched) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    code = "import time\ntime_of = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)\n" + _FORGE
    maker, _ = watched.python(code)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    found = watched.exec_of("true")
    assert found.exec.exe.endswith("/true")
    assert list(found.exec.argv) == [b"rubicon-sensor", b"--of", b"another"], "what it says stays as evidence"
    assert found.exec.parent.pid == maker
    assert found.agent_id == f"{AGENT:012x}"
    assert before < found.process.start_time_ns < found.time_ns < after, "the kernel's clock, not the namespace's"
    end = watched.ended(found.process.pid)
    assert (end.process, end.exit.status) == (found.process, 0)
    until(lambda: not watched.tagged(), "its tags are gone with it")
    assert not any(each.agent_id == f"{OTHER:012x}" for each in watched.read())
