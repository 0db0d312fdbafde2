"""`rubicon run` of an agent that takes every pid, and of one whose teller comes to nothing: it ends as CMD did, and says so."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import Host, until
from tests.sensor.act.keeper import v1

pytestmark = pytest.mark.root
MOST = 40
FILL = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
    except OSError:
        time.sleep(0.001)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of the v1 pids controller with room for `MOST` processes and threads."""
    try:
        controller = v1("pids")
    except LookupError as error:
        pytest.skip(str(error))
    made = controller / f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}"
    made.mkdir()
    (made / "pids.max").write_text(str(MOST))
    try:
        yield made
    finally:
        until(lambda: _emptied(made))
        made.rmdir()


def _emptied(group: Path) -> bool:
    left = (group / "cgroup.procs").read_text().split()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return not left


def run(host: Host, group: Path, *options: str) -> subprocess.Popen[str]:
    command = host.command("run", "--name", "full", *options, "--", "python3", "-S", "-c", FILL)
    return subprocess.Popen(
        ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command],
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [(), ("--local",)], ids=["by the plane", "by the sensor"])
def test_it_can_be_killed_and_run_says_so(host: Host, group: Path, how: tuple[str, ...]) -> None:
    with run(host, group) as running:
        until(lambda: (group / "pids.current").read_text().strip() == str(MOST))
        killed = host.rubicon("kill", *how, "full", "--reason", "it takes all")
        assert killed.returncode == 0, killed.stdout + killed.stderr
        _, told = running.communicate(timeout=100)
    assert running.returncode == 137
    assert "agent full was killed: it takes all" in told
    assert "Traceback" not in told
    assert "pthread" not in told
    assert not host.json("ps")


def test_its_time_limit_holds(host: Host, group: Path) -> None:
    with run(host, group, "--timeout", "2") as running:
        _, told = running.communicate(timeout=100)
    assert running.returncode == 124
    assert "the time limit was reached, the tree was killed" in told
    assert "Traceback" not in told
    assert not host.json("ps")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_teller_that_comes_to_nothing_is_replaced(host: Host, number: int) -> None:
    command = host.command("run", "--name", "untold", "--", "sh", "-c", "read line; exit 7")
    with subprocess.Popen(
        command, env=host.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        until(lambda: host.json("ps"))
        (cmd,) = host.json("tree", "untold")
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        (teller,) = until(lambda: {int(pid) for pid in children.read_text().split()} - {cmd["pid"]})
        os.kill(teller, number)
        _, told = running.communicate("\n", timeout=100)
    assert running.returncode == 7
    assert "untold" in told
    assert "1 processes, 0 flows, 0 alerts" in told
    until(lambda: not Path(f"/proc/{teller}").exists())


def test_a_teller_ends_with_run(host: Host) -> None:
    command = host.command("run", "-q", "--", "sh", "-c", "read line")
    with subprocess.Popen(command, env=host.environment, stdin=subprocess.PIPE, text=True) as running:
        until(lambda: host.json("ps"))
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        both = until(lambda: found if len(found := children.read_text().split()) == 2 else None)
        running.kill()
        running.wait(timeout=60)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in both))
    until(lambda: not host.json("ps"))
