"""Who finds no place in a full tag hash: known by name, condemned, and its children with it.

Run with the objects for older kernels, whose fork hook can end the maker but not the child: there such a child lives on.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import host
from sensor.kernel.enums import AgentFlag
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.kernel.watched import AGENT, OTHER, Watched, until

pytestmark = pytest.mark.root
ENTRIES = 256
LINE = """
import os, sys
if not os.fork():
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    os.execv("/bin/echo", ["echo", "executed"])
"""


@pytest.fixture
def kernel(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setattr(host, "has_atomic_fetch", lambda: False)
    opened = Kernel.open(instance, KernelSettings(tag_memory_bytes=ENTRIES * 96))
    try:
        yield opened
    finally:
        opened.close()


def full(watched: Watched) -> None:
    """Every place is taken, by pids that no process can have."""
    while (taken := len(list(watched.kernel.tags.items()))) < ENTRIES:
        for number in range(taken, ENTRIES):
            assert watched.kernel.tags.add((1 << 30) + secrets.randbelow(1 << 29), OTHER, number, 0)


def test_a_line_of_children_without_a_tag_is_known_to_its_end(watched: Watched) -> None:
    """Also where no cgroup says whose they are."""
    watched.kernel.agents.put(AGENT, 0, 0)
    child = watched.held(sys.executable, "-c", LINE)
    watched.tag(child.pid)
    full(watched)
    assert watched.kernel.untagged.of(AGENT) == set()
    assert watched.kernel.untagged.count == 0
    watched.go(child)
    assert child.stdout
    first = int(child.stdout.readline())
    assert child.wait(60) == -9, "whoever forks is ended"
    wanted = AgentFlag.CONDEMNED | AgentFlag.TAG_PRESSURE
    assert watched.flags() & wanted == wanted
    assert watched.kernel.untagged.of(AGENT) == {(first, watched.start_time(first))}
    assert watched.kernel.untagged.of(OTHER) == set()
    full(watched)  # the place of whoever was ended is free
    watched.go(child)  # it forks
    second = int(child.stdout.readline())
    until(lambda: watched.kernel.untagged.of(AGENT) == {(second, watched.start_time(second))}, "the maker is gone")
    assert watched.kernel.untagged.count == 2
    assert watched.kernel.tags.get(second) is None
    watched.go(child)  # it executes
    assert child.stdout.readline() == ""
    until(lambda: watched.kernel.untagged.of(AGENT) == set(), "nobody is left")


def test_who_is_enrolled_and_finds_no_place_is_known(watched: Watched) -> None:
    child = watched.held("sleep", "60")
    full(watched)
    start_time = watched.start_time(child.pid)
    assert not watched.kernel.tags.add(child.pid, AGENT, start_time, 0)
    assert watched.kernel.untagged.of(AGENT) == {(child.pid, start_time)}
    assert watched.flags() & AgentFlag.CONDEMNED
    watched.go(child)
    assert child.wait(60) == -9, "killed as it executes"
    until(lambda: watched.kernel.untagged.of(AGENT) == set(), "it ended")
    assert watched.kernel.untagged.count == 1


def test_a_reused_pid_is_nobodys(watched: Watched) -> None:
    child = watched.held("echo", "executed")
    full(watched)
    assert not watched.kernel.tags.add(child.pid, AGENT, watched.start_time(child.pid) - 1, 0)
    watched.go(child)
    assert child.stdout
    assert child.stdout.readline() == "executed\n", "an earlier process of that pid was meant"
    assert child.wait(60) == 0


def test_a_child_of_who_found_no_place_takes_one_that_is_free(watched: Watched) -> None:
    watched.kernel.agents.put(AGENT, 0, 0)
    child = watched.held(sys.executable, "-c", LINE)
    watched.tag(child.pid)
    full(watched)
    watched.go(child)
    assert child.stdout
    child.stdout.readline()
    assert child.wait(60) == -9
    watched.go(child)
    second = int(child.stdout.readline())
    until(lambda: watched.tagged() == {second}, "it has the place of whoever was ended")
    watched.go(child)
    assert child.stdout.readline() == ""
    watched.empty()
