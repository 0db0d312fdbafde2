"""One world and one sensor for all scenarios."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from tests.conftest import LOCK, RECORDS
from tests.e2e.sensor import sensor
from tests.e2e.ssh.recorder import Recorder
from tests.e2e.ssh.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as opened:
        yield opened


@pytest.fixture(scope="module")
def recorder(world: World) -> Iterator[Recorder]:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with sensor() as running:
            RECORDS.mkdir(mode=0o700, exist_ok=True)
            record = RECORDS / running.instance.name
            record.write_text(str(os.getpid()))
            running.start()
            assert running.process
            world.watch(running.process.pid, running.instance.name)
            try:
                yield Recorder(running, world)
            finally:
                record.unlink(missing_ok=True)
        world.watch()
