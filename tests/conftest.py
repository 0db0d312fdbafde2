"""What every test shares: the lock of root tests, an instance of the test's own, and what happens without root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance

LOCK = Path("/run/lock/rubicon-tests.lock")
RECORDS = Path("/run/rubicon-tests")
"""One file for each instance that a test made, named after it and holding the test's pid: what is left after a crash."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `root` are skipped for others; with REQUIRE_ROOT=1, as CI sets it, that is a failure."""
    if item.get_closest_marker("root") and os.geteuid():
        if os.environ.get("REQUIRE_ROOT") == "1":
            pytest.fail("this test needs root, and REQUIRE_ROOT=1 forbids skipping it", pytrace=False)
        pytest.skip("needs root")


@pytest.fixture
def root_lock() -> Iterator[None]:
    """Tests that load programs into the kernel take turns, also between two runs at once."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _remove_stale()
        yield


@pytest.fixture
def instance(root_lock: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """An instance that nobody else has, in RUBICON_INSTANCE too; everything of it is gone afterwards."""
    short = f"t-{os.getpid()}-{secrets.token_hex(3)}"
    monkeypatch.setenv("RUBICON_INSTANCE", short)
    made = Instance.current()
    RECORDS.mkdir(mode=0o700, exist_ok=True)
    (RECORDS / made.name).write_text(str(os.getpid()))
    made.state_dir.mkdir(mode=0o700, parents=True)
    try:
        yield made
    finally:
        remove_instance(made)


def remove_instance(made: Instance) -> None:
    """Undo all that an instance may have on this host: hooks, cgroups with what lives in them, folders."""
    from sensor.kernel import host
    from sensor.kernel.loader import Kernel

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
