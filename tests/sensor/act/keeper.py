"""Fork bombs that cannot hurt the machine: each runs below e2e/programs/keeper.c, in a group of a v1 hierarchy, where nothing
of Rubicon's moves anybody; of the pids controller where that is to be had."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sensor.act.cgroup import mount
from sensor.guard.tags import exiting
from tests.turns import RECORDS

PROGRAMS = Path(__file__).parents[2] / "e2e" / "programs"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rubicon-programs-")


@functools.cache
def compiled(name: str) -> str:
    """Compile one of tests/e2e/programs; the executable's path, of which the kernel shows the name's first 15 bytes."""
    target = str(Path(_folder().name) / name)
    subprocess.run(["cc", "-O2", "-Wall", "-pthread", "-o", target, str(PROGRAMS / f"{name}.c")], check=True)
    return target


@functools.cache
def v1(controller: str) -> Path:
    """Where a v1 controller is mounted; a host that has cgroup v2 only lends those that v2 does not use, until the tests' end.

    Raises:
        LookupError: cgroup v2 uses this one.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup ") and controller in right.split(" ")[2].split(","):
            return Path(left.split(" ")[4])
    if controller in (mount() / "cgroup.controllers").read_text().split():
        raise LookupError(f"the v1 {controller} controller is not to be had: cgroup v2 uses it")
    place = RECORDS.with_name(f"rubicon-tests-{controller}")
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup", "-o", controller, "none", str(place)], check=True)
    atexit.register(subprocess.run, ["umount", str(place)])
    return place


@functools.cache
def _hierarchy() -> Path:
    """With a limit where there can be one; a hierarchy without a controller counts as well."""
    try:
        return v1("pids")
    except LookupError:
        return v1("none,name=rubicon-tests")


@dataclass
class Kept:
    """A command under a keeper; it begins at `release`."""

    process: subprocess.Popen[str]
    """The keeper, which is nobody's agent."""
    group: Path
    pid: int = 0
    """The command's first process."""

    def release(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next line of output."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def living(self) -> set[int]:
        """Everybody in the group, zombies left out: the truth about who is left, from a controller that nothing here uses."""
        return {int(pid) for pid in (self.group / "cgroup.procs").read_text().split()}

    def running(self) -> set[int]:
        """Those of them who may still execute anything. Whoever is inside exit(2) is listed until its end."""
        return {pid for pid in self.living() if not exiting(pid)}

    def status(self, seconds: float = 60) -> int:
        """Wait until nobody is left; the first process's status, 128 + signal, or 99: the keeper had to end it."""
        return self.process.wait(timeout=seconds)


@contextlib.contextmanager
def kept(*command: str, most: int = 1200, seconds: int = 60) -> Iterator[Kept]:
    """Prepare a command; whatever becomes of it, nobody of it is left after the block, nor `seconds` after its start.

    `most` is the most processes at once, zombies too, where the v1 pids controller is to be had.
    """
    group = _hierarchy() / f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}"
    group.mkdir()
    if (group / "pids.max").exists():
        (group / "pids.max").write_text(str(most))
    keeper = subprocess.Popen(
        [compiled("keeper"), str(group), str(seconds), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    made = Kept(keeper, group)
    try:
        made.pid = int(made.line())
        _until(lambda: made.pid in made.living())
        yield made
    finally:
        keeper.terminate()
        keeper.wait(timeout=30)
        for pipe in (keeper.stdin, keeper.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()
        _until(lambda: not made.living())
        group.rmdir()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, "the keeper's group did not come to what it should be"
        time.sleep(0.005)
