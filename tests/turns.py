"""Root tests take turns, also between two runs at once, and what each made is on record until it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rubicon.v1.instance import Instance

LOCK = Path("/run/lock/rubicon-tests.lock")
RECORDS = Path("/run/rubicon-tests")
"""One file for each instance that a test made, named after it and holding the test's pid: what is left after a crash."""

_holding = False


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Nobody else's root tests run inside; what crashed runs left is removed first.

    Raises:
        RuntimeError: this process holds the turn already, so a fixture outlives its module: waiting would be for ever.
    """
    global _holding
    if _holding:
        raise RuntimeError("another fixture of this run still has the turn: give it scope='module'")
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _holding = True
        try:
            _remove_stale()
            yield
        finally:
            _holding = False


@contextlib.contextmanager
def recorded(instance: Instance) -> Iterator[None]:
    """The instance is this run's; whatever it may have on this host (hooks, cgroups, folders) is gone afterwards."""
    RECORDS.mkdir(mode=0o700, exist_ok=True)
    (RECORDS / instance.name).write_text(str(os.getpid()))
    try:
        yield
    finally:
        remove_instance(instance)


def remove_instance(made: Instance) -> None:
    """Undo all that an instance may have on this host: daemons, hooks, cgroups with what lives in them, folders."""
    from rubicon.cli.daemons import record
    from sensor.kernel import host
    from sensor.kernel.loader import Kernel

    for daemon in record.read(made):  # of a run that was killed itself: nobody else ends them; the supervisor first
        daemon.end(timeout_s=20)
    with contextlib.suppress(FileNotFoundError):
        _remove_cgroup(host.cgroup_root() / made.cgroup)
    Kernel.unload(made)
    for folder in (made.state_dir, made.run_dir):
        shutil.rmtree(folder, ignore_errors=True)
    (RECORDS / made.name).unlink(missing_ok=True)


def _remove_cgroup(top: Path) -> None:
    if not top.is_dir():
        return
    with contextlib.suppress(OSError):
        (top / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 10
    while True:
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
        try:
            for folder in [*folders, top]:
                folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _remove_stale() -> None:
    for record in RECORDS.iterdir() if RECORDS.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int(record.read_text())}").exists():
                remove_instance(Instance(record.name))
