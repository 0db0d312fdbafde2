"""Cgroups: leaving, entering another agent's, moving a stranger in, being born elsewhere. Host root stays whose it was."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor.act.cgroup import Cgroup, mount
from tests.e2e.adversary.field import Container, alerts, under_profile
from tests.e2e.adversary.fight import Fighter, fighter
from tests.e2e.adversary.rows import NOT_THERE, REFUSED, Row, check
from tests.e2e.host import Host

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]
AWAY = REFUSED | NOT_THERE
READ_ONLY = frozenset({"EROFS"})
NO_SUCH_CALL = frozenset({"ENOSYS"})
NOT_TO_BE_HAD = AWAY | NO_SUCH_CALL


@pytest.fixture
def stranger() -> Iterator[int]:
    """Nobody's process; it goes back to the root, so that no cgroup is kept by it."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
        assert process.poll() is None, "the stranger was killed"
    finally:
        Cgroup.at("/").move(process.pid)
        process.kill()
        process.wait()


@pytest.fixture
def other(host: Host) -> Iterator[Fighter]:
    """Another agent."""
    with fighter(host, "sh", "-c", "echo up; exec cat") as made:
        yield made


def cgroup_of(host: Host, name: str) -> Path:
    agent = next(each for each in host.json("ps") if each["name"] == name)
    return mount() / host.instance.cgroup / str(agent["id"])


def hierarchies() -> list[str]:
    """Where cgroups are mounted, of both versions."""
    fields = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [line[4] for line in fields if line[line.index("-") + 1] in ("cgroup", "cgroup2")]


def test_leaving(host: Host, container: Container) -> None:
    """A container does not see the hierarchy, under the launch profile it is read-only; host root is named."""
    root = mount()
    check(
        host, container, [Row(f"leave:{root}", AWAY, READ_ONLY), Row(f"clone-into:{root}", NOT_TO_BE_HAD, NO_SUCH_CALL)]
    )
    assert set(under_profile(host, *(f"leave:{each}" for each in hierarchies()))) == READ_ONLY, (
        "also those of version 1"
    )
    assert len(alerts(host, "left-cgroup", "Left its agent's cgroup")) >= 2


def test_joining_another_agent(host: Host, container: Container, other: Fighter) -> None:
    """The first owner stays: whoever came is not killed with the other."""
    folder = cgroup_of(host, other.name)
    check(
        host,
        container,
        [Row(f"leave:{folder}", AWAY, READ_ONLY), Row(f"clone-into:{folder}", NOT_TO_BE_HAD, NO_SUCH_CALL)],
    )
    assert alerts(host, "left-cgroup", "Entered another agent's cgroup")


def test_moving_a_stranger(host: Host, container: Container, stranger: int) -> None:
    """The stranger stays nobody's and lives through the agent's kill."""
    check(host, container, [Row(f"drag:{stranger}", AWAY, READ_ONLY), Row("thaw-itself", AWAY, READ_ONLY)])
    assert alerts(host, "left-cgroup", "Stranger moved")
    script = "own=$1$(sed -n 's/^0:://p' /proc/self/cgroup); echo $2 > $own/cgroup.procs; echo up; exec cat"
    words = ("sh", "-euc", script, "sh", str(mount()), str(stranger))
    with fighter(host, *words, options=("--user", "root", "--privileged")) as fights:
        fights.killed()
        assert Path(f"/proc/{stranger}").exists()
