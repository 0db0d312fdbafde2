"""Trap: exec by a thread that is not the leader ends the leader, whose exit hook fires while the process lives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kernel.watched import Watched

pytestmark = pytest.mark.root


def test_threaded_exec_keeps_pid_start_time_and_tag(watched: Watched, compiled: Callable[[str], str]) -> None:
    child = watched.start(compiled("threads"), "exec")
    start_time = watched.start_time(child.pid)
    watched.go(child)
    assert child.wait(10) == 0
    event = watched.exec_of("true")
    assert (event.process.pid, event.process.start_time_ns) == (child.pid, start_time)
    assert watched.ended(child.pid).time_ns > event.time_ns
    assert not watched.of("fork")
    watched.empty()


def test_threaded_exec_leaves_a_process_that_is_still_watched(watched: Watched) -> None:
    code = (
        "import os, threading, time\n"
        "threading.Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'true & wait'])).start()\n"
        "time.sleep(60)\n"
    )
    pid, _ = watched.python(code)
    assert watched.exec_of("sh").process.pid == pid
    assert watched.one("fork", lambda event: event.process.pid == pid)
    assert len([event for event in watched.of("exit") if event.process.pid == pid]) == 1
    watched.empty()
