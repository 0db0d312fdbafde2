"""Trap: a full tag hash lets children go untagged. At a high-water mark the agent is condemned while entries remain."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag
from sensor.kernel.settings import KernelSettings
from tests.kernel.watched import OTHER, Watched, until

pytestmark = pytest.mark.root

ENTRIES = 1024
PF_EXITING = 0x4


@pytest.fixture
def settings() -> KernelSettings:
    """A tag hash of so few entries that a fork bomb passes the mark within milliseconds."""
    return KernelSettings(tag_memory_bytes=ENTRIES * 96)


def _runs(pid: int) -> bool:
    """Can a process still do something: it is no zombie and not on its way out, which it enters without its tag."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & PF_EXITING


def _living(watched: Watched) -> set[int]:
    return {int(line) for line in (watched.cgroup / "cgroup.procs").read_text().split()}


def _untagged(watched: Watched) -> set[int]:
    """Processes in the agent's cgroup that run without a tag; one that is just being born may be among them."""
    return {pid for pid in _living(watched) if not watched.kernel.tags.get(pid) and _runs(pid)}


def test_high_water_mark_condemns_who_forks(watched: Watched) -> None:
    assert watched.kernel.tags.capacity == ENTRIES
    child = watched.start("sh", "-c", "while :; do sleep 60 & done")
    watched.go(child)
    assert child.wait(20) == -9, "its own fork killed it"
    wanted = AgentFlag.CONDEMNED | AgentFlag.TAG_PRESSURE
    assert watched.flags() & wanted == wanted
    assert not _untagged(watched)
    assert len(watched.tagged()) < ENTRIES


@pytest.mark.parametrize("width", [2, 28])
def test_high_water_mark_lets_no_child_escape(watched: Watched, compiled: Callable[[str], str], width: int) -> None:
    """Half of the children wait, so whoever was born without a tag would stay."""
    child = watched.start(compiled("burst"), str(width))
    watched.go(child)
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    assert not watched.flags() & AgentFlag.CONDEMNED
    assert child.stdin
    child.stdin.close()
    until(lambda: watched.flags() & AgentFlag.CONDEMNED, "the mark")
    until(lambda: watched.count() == len(_living(watched)) and not _untagged(watched), "no process without a tag")
    assert watched.count() > ENTRIES / 8, "those that only wait are there"
    (watched.cgroup / "cgroup.kill").write_text("1")
    watched.empty()


def _fill(watched: Watched, entries: int = ENTRIES) -> None:
    """Take places in the hash, all unless told otherwise, by pids that no process can have."""
    taken = len(list(watched.kernel.tags.items()))
    for number in range(taken, entries):
        assert watched.kernel.tags.add((1 << 30) + number, OTHER, 1, 0)


def test_high_water_mark_spares_the_neighbours_of_who_fills_the_hash(watched: Watched) -> None:
    """Above the mark an agent of few processes still forks; at half of what is left above it nobody does any more."""
    watched.kernel.agents.put(OTHER, 1, 0)
    _fill(watched, ENTRIES * 7 // 8)
    assert watched.flags(OTHER) & AgentFlag.CONDEMNED
    _, output = watched.run("sh", "-c", "true & wait; echo whole")
    assert output == "whole\n"
    assert not watched.flags() & AgentFlag.CONDEMNED
    _fill(watched, ENTRIES * 15 // 16)
    child = watched.start("sh", "-c", "true & wait")
    watched.go(child)
    assert child.wait(10) == -9
    assert watched.flags() & AgentFlag.TAG_PRESSURE


def test_full_tag_hash_ends_the_line_of_children_without_a_tag(watched: Watched) -> None:
    """Who is born without a tag in an agent's cgroup dies: at once where the kernel can (6.13), else at its own fork, which
    makes a line of children and no tree of them."""
    code = "import os\nfor _ in range(12):\n    os.fork()\nprint('end', flush=True)\n"
    child = watched.start(sys.executable, "-c", code)
    _fill(watched)
    watched.go(child)
    assert child.communicate(timeout=20)[0] in ("", "end\n")
    assert watched.flags() & AgentFlag.TAG_PRESSURE, "no child runs untagged in silence"
    assert child.returncode == -9


def test_full_tag_hash_lets_nobody_execute(watched: Watched) -> None:
    child = watched.start("sh", "-c", "sh -c 'echo executed' & wait")
    _fill(watched)
    watched.go(child)
    assert child.communicate(timeout=20)[0] == ""
    assert child.returncode == -9
    until(lambda: not _living(watched), "nobody is left")
    assert not watched.of("exec", lambda event: "echo executed" in event.exec.argv[-1:])
