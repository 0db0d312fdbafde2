"""tp_btf/sched_process_exit: a process ends with its last thread, and what wait(2) would say of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.watched import AGENT, Watched, until

pytestmark = pytest.mark.root

Compiled = Callable[[str], str]


@pytest.mark.parametrize("status", [0, 1, 255])
def test_exit_has_the_status(watched: Watched, status: int) -> None:
    pid, _ = watched.run("sh", "-c", f"exit {status}")
    found = watched.ended(pid).exit
    assert (found.status, found.signal, found.core_dumped) == (status, 0, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGRTMAX])
def test_exit_has_the_signal(watched: Watched, number: int) -> None:
    pid, _ = watched.run("sh", "-c", f"kill -{int(number)} $$")
    found = watched.ended(pid).exit
    assert (found.signal, found.core_dumped) == (number, False)


def test_exit_says_that_core_was_dumped(watched: Watched, tmp_path: Path) -> None:
    """Where core_pattern is a plain file name, which is the kernel's default."""
    code = "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (-1, -1))\nos.chdir('{}')\nos.abort()\n"
    child = watched.start("python3", "-c", code.format(tmp_path))
    watched.go(child)
    child.communicate()
    found = watched.ended(child.pid).exit
    assert found.signal == signal.SIGABRT
    # Popen's returncode has no core bit: the file tells
    assert found.core_dumped == any(each.name.startswith("core") for each in tmp_path.iterdir())


def test_exit_of_the_leader_is_not_the_end(watched: Watched, compiled: Compiled) -> None:
    """The tag goes with the last thread: until then the process is watched, under the leader's pid and start time."""
    child = watched.start(compiled("threads"), "last")
    start_time = watched.start_time(child.pid)
    watched.go(child)
    until(lambda: "\nState:\tZ" in Path(f"/proc/{child.pid}/status").read_text(), "the leader's end")
    tag = watched.kernel.tags.get(child.pid)
    assert tag
    assert tag.start_time == start_time
    task = watched.kernel.task(child.pid)
    assert task
    assert task.state == "S", "the group lives"
    assert not watched.of("exit")
    watched.go(child)
    assert int(child.communicate(timeout=10)[0]) == watched.one("fork").fork.child.pid
    found = watched.ended(child.pid)
    assert found.process.start_time_ns == start_time
    assert os.waitstatus_to_exitcode(found.exit.status << 8 | found.exit.signal) == child.returncode
    watched.empty()


def test_exit_by_a_thread_has_its_status(watched: Watched, compiled: Compiled) -> None:
    pid, _ = watched.run(compiled("threads"), "exit", "42")
    assert watched.ended(pid).exit.status == 42


def test_exit_of_threads_that_end_at_once_is_one_record(watched: Watched, compiled: Compiled) -> None:
    for _ in range(20):
        pid, _ = watched.run(compiled("threads"), "race", "8")
        watched.ended(pid)
    watched.empty()


def test_exit_of_a_condemned_agent_lets_go_of_every_tag(watched: Watched) -> None:
    child = watched.start("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait")
    watched.go(child)
    until(lambda: watched.count() == 9, "nine processes")
    watched.kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    (watched.cgroup / "cgroup.kill").write_text("1")
    watched.empty()
    until(lambda: len(watched.of("exit")) == 9, "nine ends")
    assert {event.exit.signal for event in watched.of("exit")} == {9}


def test_exit_of_nobody_is_no_record(watched: Watched) -> None:
    child = watched.held("true")
    watched.go(child)
    child.wait(10)
    assert not watched.read()
