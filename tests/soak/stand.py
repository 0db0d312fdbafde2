"""A host for a soak, under the lock that root tests share; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from tests.conftest import LOCK, RECORDS, remove_instance
from tests.e2e.host import Host


@contextlib.contextmanager
def stand() -> Iterator[Host]:
    """Plane and sensor are up inside."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Host()
        RECORDS.mkdir(mode=0o700, exist_ok=True)
        (RECORDS / made.instance.name).write_text(str(os.getpid()))
        try:
            done = made.rubicon("up")
            assert done.returncode == 0, done.stderr
            yield made
        finally:
            made.rubicon("kill", "--all", "--yes")
            made.rubicon("down", "--yes")
            remove_instance(made.instance)
