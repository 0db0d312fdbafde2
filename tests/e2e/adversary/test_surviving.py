"""Outliving a freeze or a kill."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sensor.act.cgroup import mount
from tests.e2e.adversary.field import PROGRAMS
from tests.e2e.adversary.fight import events, fighter, known
from tests.e2e.host import Host, until
from tests.sensor.act.keeper import compiled

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]
RUNNERS = ("/usr/bin/python3", "-S", str(PROGRAMS / "runners.py"))


def moving(folder: Path) -> set[str]:
    """Whose counters have changed within a quarter of a second."""
    before = {path.name: path.read_text() for path in folder.iterdir()}
    threading.Event().wait(0.25)
    return {path.name for path in folder.iterdir() if path.read_text() != before.get(path.name)}


@pytest.mark.parametrize("options", [("--user", "root"), ("--user", "root", "--privileged")], ids=["contained", "host"])
def test_freeze(host: Host, tmp_path: Path, options: Sequence[str]) -> None:
    """Leavers, deaf ones, one without a first thread, one whose first thread is traced, one that wakes the others."""
    leavers = {"left"} if "--privileged" in options else set()  # the launch profile lets nobody leave
    with fighter(host, *RUNNERS, str(tmp_path), options=options) as fights:
        until(lambda: moving(tmp_path) >= leavers | {"plain", "deaf", "without-a-leader", "traced"})
        assert leavers or not (tmp_path / "left").exists()
        fights.act("freeze")
        assert moving(tmp_path) == set()
        fights.act("release")
        until(lambda: moving(tmp_path) >= leavers | {"plain", "deaf", "without-a-leader"})
        fights.act("freeze")
        fights.killed()


@pytest.mark.parametrize("mode", ["session", "vfork", "thread", "namespace", "move", "into", "mixed"])
def test_kill(host: Host, mode: str) -> None:
    """Double forks, vfork, threads, namespaces; moves between cgroups and births in others, which the profile refuses."""
    folders = [str(mount())]
    options = ("--user", "root", "--privileged") if mode in ("move", "into") else ("--user", "root")
    with fighter(host, compiled("bomb"), "32", "60", mode, *folders, options=options) as fights:
        fights.killed()


@pytest.mark.parametrize("mode", ["leaf", "mixed"])
def test_a_64_way_fork_bomb_is_gone_after_one_kill(host: Host, mode: str) -> None:
    """As a person has it: `rubicon run`, and one `rubicon kill` through the plane; 20 times of 20 in test_kill_bomb.py."""
    with fighter(host, compiled("bomb"), "64", "60", mode) as fights:
        until(lambda: known(host, fights.name))
        fights.killed(local=False)


def test_a_flood_hides_nobody(host: Host) -> None:
    """While one agent forks as fast as it can, another one's records come up whole, and the first can be killed."""
    with fighter(host, compiled("bomb"), "4", "60", "mixed") as fights:
        name = f"{fights.name}-other"
        assert host.rubicon("run", "-q", "--name", name, "--", "sh", "-c", "/bin/echo seen; exit 3").returncode == 3
        fights.killed()
    assert events(host, name, "/bin/echo")
    assert events(host, name, '"exit"')
