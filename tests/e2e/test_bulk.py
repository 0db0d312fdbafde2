"""Responses to more than a hundred agents at once, by label, on a real host: progress, failures, Ctrl-C, exit codes."""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rubicon import Client
from tests.e2e.host import Host, until
from tests.sensor.act.keeper import v1

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
COUNT = 120


class Fleet:
    """Sleeping processes, each an agent of its own, enrolled by pid."""

    def __init__(self, host: Host, job: str) -> None:
        self.label = f"job={job}"
        self.pids = [os.posix_spawn("/bin/sleep", ["sleep", "100000"], os.environ) for _ in range(COUNT)]
        self._dead: set[int] = set()
        with Client(host.instance) as client, ThreadPoolExecutor(8) as pool:

            def enrol(number: int) -> str:
                agent = client.agents.create(f"{job}-{number}", labels={"job": job})
                return agent.enrol(pid=self.pids[number]).id

            self.ids = list(pool.map(enrol, range(COUNT)))

    def living(self) -> list[int]:
        for pid in self.pids:
            if pid not in self._dead and os.waitpid(pid, os.WNOHANG)[0]:
                self._dead.add(pid)
        return [pid for pid in self.pids if pid not in self._dead]

    def end(self) -> None:
        for pid in self.living():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def fleet(host: Host) -> Iterator[Fleet]:
    made = Fleet(host, f"rome-{secrets.token_hex(2)}")
    try:
        yield made
    finally:
        made.end()
        until(lambda: not host.json("ps"))


@pytest.fixture
def stuck(fleet: Fleet) -> Iterator[int]:
    """One of them that cannot die: it is frozen on a v1 hierarchy."""
    pid = fleet.pids[COUNT // 2]
    folder = v1("freezer") / f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(str(pid))
    (folder / "freezer.state").write_text("FROZEN")
    until(lambda: (folder / "freezer.state").read_text().strip() == "FROZEN")
    try:
        yield pid
    finally:
        (folder / "freezer.state").write_text("THAWED")
        until(lambda: fleet.living() == [] and not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def states(host: Host, fleet: Fleet) -> set[tuple[bool, bool]]:
    found = {each["id"]: (each["frozen"], each["isolated"]) for each in host.json("ps")}
    return {found[each] for each in fleet.ids}


def test_freeze_isolate_and_release(host: Host, fleet: Fleet) -> None:
    for action, after in (("freeze", (True, False)), ("isolate", (True, True)), ("release", (False, False))):
        found = host.json(action, "-l", fleet.label, "--reason", "all of them")
        assert len({each["agent"] for each in found}) == COUNT
        assert {(each["action"], each["state"]) for each in found} == {(action, "verified")}
        while states(host, fleet) != {after}:
            time.sleep(0.1)  # until the events of the last have come up; the test's own limit ends it
    assert len(fleet.living()) == COUNT
    done = host.rubicon("kill", "-l", fleet.label)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed 1 processes") == COUNT
    assert f"kill: {COUNT} targets" in done.stdout
    assert fleet.living() == []


def test_one_that_cannot_die_is_named_and_the_others_die(host: Host, fleet: Fleet, stuck: int) -> None:
    master, slave = pty.openpty()
    command = host.command("kill", "-l", fleet.label)
    environment = {**host.environment, "COLUMNS": "200"}
    with (
        os.fdopen(master, "rb", buffering=0) as screen,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, text=True
        ) as running,
    ):
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end was closed
            while data := screen.read(4096):
                shown += data
        assert running.stdout
        table = running.stdout.read()
        assert running.wait(60) == 6
    assert f"{COUNT}/{COUNT}".encode() in shown, "progress"
    assert fleet.living() == [stuck]
    assert table.count("✔") == COUNT - 1
    (row,) = (line for line in table.splitlines() if "✘" in line)
    name = host.json("ps")[0]["name"]
    assert name in row
    assert f"left: {stuck} sleep" in " ".join(table.split())
    assert f"kill: {COUNT} targets, 1 not whole" in table


def test_ctrl_c_in_the_middle(host: Host, fleet: Fleet) -> None:
    """What was asked for is done and said; what was not asked lives, and is said too."""
    with subprocess.Popen(
        host.command("kill", "-l", fleet.label),
        env={**host.environment, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: len(fleet.living()) < COUNT)
        running.send_signal(signal.SIGINT)
        assert running.stdout
        table = running.stdout.read()
        assert running.wait(60) == 130
    killed, unasked = table.count("killed 1 processes"), table.count("not asked: interrupted")
    assert killed + unasked == COUNT
    assert len(fleet.living()) == unasked > 0
    assert f"kill: {COUNT} targets, {unasked} not asked" in table
