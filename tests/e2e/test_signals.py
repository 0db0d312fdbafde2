"""SIGINT, SIGTERM and SIGHUP at any moment of `run` and `up`: no traceback, nothing left behind, and the next one works."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.host import Host, until

pytestmark = pytest.mark.root
PYTHONS_OWN = "Traceback|KeyboardInterrupt|Fatal Python"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def having(mark: str) -> list[int]:
    """Pids of the processes whose environment has this mark, this one excepted."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and f"MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:  # it has just ended
                continue
    return found


def interrupted(host: Host, words: tuple[str, ...], number: int, after_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command and send it a signal a while later."""
    with subprocess.Popen(
        host.command(*words),
        env={**host.environment, "MARK": host.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        time.sleep(after_s)  # the moment itself is what is tested
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    return subprocess.CompletedProcess(words, running.returncode, out, err)


def ended_well(done: subprocess.CompletedProcess[str], number: int, *also: int) -> bool:
    """By the signal or its status, and quiet."""
    return done.returncode in (-number, 128 + number, *also) and not re.search(PYTHONS_OWN, done.stderr)


@pytest.mark.parametrize("number", SIGNALS)
def test_run_at_any_moment(host: Host, number: int) -> None:
    for moment in range(12):
        done = interrupted(host, ("run", "--", "sleep", "5"), number, moment * 0.04)
        assert ended_well(done, number), (moment, done)
        until(lambda: not having(host.name))
    until(lambda: not host.json("ps"))
    assert host.rubicon("run", "-q", "--", "true").returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_up_at_any_moment(own_host: Host, number: int) -> None:
    for moment in (0.05, 0.15, 0.3, 0.6):
        done = interrupted(own_host, ("up",), number, moment)
        assert ended_well(done, number, 0), (moment, done)
        again = own_host.rubicon("up")
        assert again.returncode == 0, (moment, again.stderr)
        assert own_host.rubicon("run", "-q", "--", "true").returncode == 0
        down = own_host.rubicon("down", "--yes")
        assert down.returncode == 0, down.stderr
        assert not own_host.daemon("rubicon-sensor")


def starting(mark: str) -> int:
    """The pid of a supervisor, 0 where there is none."""
    for pid in having(mark):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"--foreground" in words:
                return pid
    return 0


def test_down_waits_for_a_supervisor_that_is_not_on_record_yet(own_host: Host) -> None:
    environment = {**own_host.environment, "MARK": own_host.name}
    with subprocess.Popen(own_host.command("up"), env=environment) as up:
        supervisor = until(lambda: starting(own_host.name))
        os.kill(supervisor, signal.SIGSTOP)
        up.kill()
    assert not own_host.daemon("supervisor"), "it was stopped before it could write down that it is there"
    with subprocess.Popen(own_host.command("down", "--yes"), env=own_host.environment) as down:
        lock = str(own_host.instance.state_dir / "start.lock")
        until(lambda: down.poll() is not None or lock in opened(down.pid))
        os.kill(supervisor, signal.SIGCONT)
    assert down.returncode == 0
    assert supervisor not in having(own_host.name), "it has ended, whether pid 1 has taken note of it or not"
    until(lambda: not having(own_host.name))


def opened(pid: int) -> set[str]:
    """Files that a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(each))
    return found


def test_down_finds_what_an_up_that_was_killed_has_begun(own_host: Host) -> None:
    for moment in range(6):
        done = interrupted(own_host, ("up",), signal.SIGKILL, moment * 0.1)
        assert done.returncode in (-signal.SIGKILL, 0), (moment, done)
        down = own_host.rubicon("down", "--yes")
        assert down.returncode == 0, (moment, down.stderr)
        until(lambda: not having(own_host.name))
        assert not own_host.daemon("supervisor")
        assert not list(own_host.instance.run_dir.glob("*.sock"))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_supervisor_ends_its_daemons_at_any_moment(own_host: Host, number: int) -> None:
    for moment in (0.2, 0.5, 1.5):
        done = interrupted(own_host, ("up", "--foreground"), number, moment)
        assert ended_well(done, number, 0), (moment, done)
        until(lambda: not having(own_host.name))
        assert own_host.rubicon("down").returncode == 0
