"""Trap: on hybrid hosts ids of v1 cgroups collide with v2 ids, and cgroup_attach_task reports v1 moves too."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag
from sensor.kernel.loader import Kernel
from tests.kernel.watched import OTHER, Watched

pytestmark = pytest.mark.root


def _mount(name: str, at: Path) -> None:
    subprocess.run(["mount", "-t", "cgroup", "-o", f"none,name={name}", name, at], check=True)


def _unmounted(name: str, at: Path) -> bool:
    """Unmount; False when the hierarchy stays, in every process's list: a removed cgroup in it was not quite gone."""
    subprocess.run(["umount", at], check=True)
    deadline = time.monotonic() + 2
    while f"name={name}:" in Path("/proc/self/cgroup").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def version_1(watched: Watched, tmp_path: Path) -> Iterator[Path]:
    """A cgroup of a v1 hierarchy of the test's own, which also a host that uses v2 alone can mount."""
    name = watched.cgroups.name
    _mount(name, tmp_path)
    folder = tmp_path / "agent"
    folder.mkdir()
    yield folder
    watched.clean()  # a zombie keeps its cgroup, and that the hierarchy
    for pid in (folder / "cgroup.procs").read_text().split():
        (tmp_path / "cgroup.procs").write_text(pid)
    folder.rmdir()
    while not _unmounted(name, tmp_path):
        _mount(name, tmp_path)


def test_hybrid_id_collision_does_not_enrol(watched: Watched, kernel: Kernel, version_1: Path) -> None:
    """The v1 cgroup's id is that of an enrolled v2 cgroup: a move into it is none into the agent."""
    number = version_1.stat().st_ino
    kernel.agents.put(OTHER, number, AgentFlag.OWN_CGROUP)
    kernel.cgroups.add(number, OTHER)
    child = watched.held("sh", "-c", "true & wait")
    watched.move(child.pid, version_1)
    watched.go(child)
    assert child.wait(10) == 0
    assert not watched.tagged(OTHER)
    assert not watched.read()


def test_hybrid_id_collision_is_neither_leaving_nor_contesting(
    watched: Watched, kernel: Kernel, version_1: Path
) -> None:
    kernel.cgroups.add(version_1.stat().st_ino, OTHER)
    child = watched.start("true")
    watched.move(child.pid, version_1)
    watched.go(child)
    assert watched.exec_of("true").exec.cgroup_id == watched.cgroup.stat().st_ino
    assert not watched.of("join")
    assert not watched.flags() & AgentFlag.LEAVERS


def test_hybrid_id_collision_is_no_way_back(watched: Watched, kernel: Kernel, version_1: Path) -> None:
    """An agent whose own cgroup has the id: who leaves it has left, whatever its v1 cgroup is called."""
    child = watched.start("true")
    kernel.agents.put(0xA6E27, version_1.stat().st_ino, AgentFlag.OWN_CGROUP)
    watched.move(child.pid, version_1)
    watched.move(child.pid, watched.root)
    assert watched.flags() & AgentFlag.LEAVERS
