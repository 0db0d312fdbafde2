"""Signals of an agent to the daemons that watch it: recorded in the sender's name, before they take effect."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor.kernel.enums import Guarded
from tests.kernel.watched import AGENT, Watched, until

pytestmark = pytest.mark.root
SEND = "import os, sys; os.kill(int(sys.argv[1]), int(sys.argv[2]))"
BY_PIDFD = "import os, signal, sys; signal.pidfd_send_signal(os.pidfd_open(int(sys.argv[1])), int(sys.argv[2]))"
ATTACH = "import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), None, None))"


@pytest.fixture
def daemon(watched: Watched) -> Iterator[int]:
    """A process that stands for the plane."""
    with subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL) as process:
        watched.kernel.config.guard({Guarded.PLANE: (process.pid, watched.start_time(process.pid))})
        yield process.pid
        process.kill()


def told(watched: Watched) -> list[str]:
    return [event.tamper.detail for event in watched.of("tamper")]


@pytest.mark.parametrize("code", [SEND, BY_PIDFD])
@pytest.mark.parametrize("number", [signal.SIGCONT, signal.SIGSTOP, signal.SIGKILL])
def test_a_signal_names_its_sender(watched: Watched, daemon: int, code: str, number: signal.Signals) -> None:
    pid, _ = watched.python(code, daemon, int(number))
    event = watched.one("tamper")
    assert event.process.pid == pid
    assert event.agent_id == f"{AGENT:012x}"
    assert event.tamper.action == "signal"
    assert event.tamper.detail == f"sent {number.name} to the plane (process {daemon})"


def test_everybody_at_once_are_meant_as_well(watched: Watched, daemon: int) -> None:
    """A process group that holds the daemon."""
    watched.python("import os, sys; os.killpg(os.getpgid(int(sys.argv[1])), 18)", daemon)
    assert told(watched) == [f"sent SIGCONT to the plane (process {daemon})"]


def test_an_attaching_tracer_stops_its_target_by_the_kernel(watched: Watched, daemon: int) -> None:
    watched.python(ATTACH, daemon)
    assert f"had the kernel send SIGSTOP to the plane (process {daemon})" in told(watched)


def test_who_is_no_agent_is_not_told_of(watched: Watched, daemon: int) -> None:
    os.kill(daemon, signal.SIGCONT)
    child = watched.held("sh", "-c", f"kill -CONT {daemon}")
    watched.go(child)
    child.wait(timeout=30)
    watched.python(SEND, daemon, int(signal.SIGCONT))
    assert len(told(watched)) == 1


def test_nobody_elses_process_and_no_refused_signal_is_told_of(watched: Watched, daemon: int) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        watched.python(SEND, other.pid, int(signal.SIGCONT))
        other.kill()
    watched.python(SEND, daemon, 0)
    watched.python("import os; os.setresuid(65534, 65534, 65534)\n" + SEND, daemon, int(signal.SIGTERM))
    watched.python(SEND, daemon, int(signal.SIGWINCH))
    assert told(watched) == [f"sent SIGWINCH to the plane (process {daemon})"]


def test_a_pid_that_was_given_to_another_is_not_the_daemon(watched: Watched, daemon: int) -> None:
    watched.kernel.config.guard({Guarded.PLANE: (daemon, watched.start_time(daemon) + 1)})
    watched.python(SEND, daemon, int(signal.SIGCONT))
    watched.kernel.config.guard({Guarded.SUPERVISOR: (daemon, watched.start_time(daemon))})
    watched.python(SEND, daemon, int(signal.SIGCONT))
    assert told(watched) == [f"sent SIGCONT to the supervisor (process {daemon})"]


def test_the_record_is_there_before_the_signal_acts(watched: Watched) -> None:
    """The daemon that is killed is the one that would have read it."""
    with subprocess.Popen(["sleep", "600"]) as killed:
        watched.kernel.config.guard({Guarded.SENSOR: (killed.pid, watched.start_time(killed.pid))})
        child = watched.start("python3", "-c", SEND, str(killed.pid), "9")
        watched.go(child)
        assert killed.wait(timeout=30) == -signal.SIGKILL
        assert told(watched) == [f"sent SIGKILL to the sensor (process {killed.pid})"]
        child.wait(timeout=30)
    until(lambda: not Path(f"/proc/{killed.pid}").exists(), "the end")
