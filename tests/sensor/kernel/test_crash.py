"""Killed in the middle of opening: whatever step was the last, the next start ends with one whole set, and unload with none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import bpf, host
from sensor.kernel.loader import Kernel
from sensor.kernel.programs import OBJECTS, When
from sensor.kernel.settings import KernelSettings
from tests.links import programs_of_nobody
from tests.sensor.kernel.elsewhere import OPEN, ROOT

pytestmark = pytest.mark.root

AGENT = 0xC4A54
_PIPES: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
_KILL_AT = """
import os, pathlib, sys
from sensor.kernel import bpf, host

left = int(sys.argv[1])

def before(function):
    def stepped(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), 9)
        return function(*arguments, **options)
    return stepped

bpf.pin = before(bpf.pin)
for name in ("mkdir", "unlink", "rename", "rmdir"):
    setattr(pathlib.Path, name, before(getattr(pathlib.Path, name)))
host.has_atomic_fetch = lambda: sys.argv[2] == "fetch"
"""
"""Every step that changes what is pinned, but the maps, which libbpf pins."""


def _open_until(step: int, build: str) -> bool:
    """A sensor that is killed right before a step; True when it had fewer."""
    done = subprocess.run(
        [sys.executable, "-c", _KILL_AT + OPEN, str(step), build],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == 0


@pytest.fixture
def strangers() -> set[int]:
    """Programs that were there before the test."""
    return set(bpf.program_ids())


def _whole(instance: Instance, strangers: set[int]) -> None:
    """Open, and see that each hook is there once: its records come once."""
    kernel = Kernel.open(instance, KernelSettings())
    try:
        # a link that was replaced is let go by the kernel a moment later: until then there are two, and no gap
        deadline = time.monotonic() + 20
        kernel.upkeep.look()  # it learns which programs behind adopted links are ours
        while left := programs_of_nobody(strangers, kernel):
            assert time.monotonic() < deadline, f"in force, and nobody's: {left}"
            time.sleep(0.01)
        folder = host.bpffs()
        assert folder
        names = sorted(each.name for each in (folder / instance.name / "links").iterdir())
        wanted = [
            program.pin
            for entry in OBJECTS
            if not entry.fallback_for
            for program in entry.programs
            if program.when is When.ALWAYS
        ]
        refused = {fact.fact for fact in kernel.coverage if fact.state == "missing"}
        assert names == sorted(set(wanted) - refused)
        kernel.agents.put(AGENT, 1, 0)
        while kernel.ring.read():
            pass
        with subprocess.Popen(["sh", "-c", "echo; read _; /bin/true; echo; read _"], **_PIPES) as child:
            child.stdout.readline()
            assert kernel.tags.add(child.pid, AGENT, 1, 0)
            child.stdin.write("\n")
            child.stdin.flush()
            child.stdout.readline()
            kinds = [int.from_bytes(record[:2], "little") for record in kernel.ring.read()]
            assert kernel.tags.delete(child.pid)
            child.kill()
        assert kinds == [1, 2, 3], "fork, exec, exit"
    finally:
        kernel.close()


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 9, 13, 17, 20, 22])
def test_killed_half_way_through_the_first_opening(instance: Instance, strangers: set[int], step: int) -> None:
    _open_until(step, "fetch")
    _whole(instance, strangers)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 14, 24, 33, 40, 48])
def test_killed_half_way_through_taking_anothers_place(instance: Instance, strangers: set[int], step: int) -> None:
    """Another build was in force: each of its links is replaced in three steps."""
    assert _open_until(1 << 20, "older")
    _open_until(step, "fetch")
    _whole(instance, strangers)


@pytest.mark.parametrize("step", [5, 15, 30])
def test_unload_after_a_crash_leaves_nothing(instance: Instance, step: int) -> None:
    assert _open_until(1 << 20, "older")
    assert not _open_until(step, "fetch")
    Kernel.unload(instance)
    folder = host.bpffs()
    assert folder is None or not (folder / instance.name).exists()


def test_a_link_that_was_pinned_but_not_yet_in_its_place(instance: Instance, strangers: set[int]) -> None:
    """Between the removal of the old link and the new one's renaming only the new one is attached: it is kept."""
    kernel = Kernel.open(instance, KernelSettings())
    links = kernel._pins.links
    (links / "process_fork").rename(links / "process_fork-new")
    fd = bpf.pinned(str(links / "process_fork-new"))
    program = bpf.link_info(fd).program
    kernel.close()
    os.close(fd)
    _whole(instance, strangers)
    fd = bpf.pinned(str(links / "process_fork"))
    assert bpf.link_info(fd).program == program
    os.close(fd)
