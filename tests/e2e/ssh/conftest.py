"""One world and one sensor for all scenarios."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.sensor import sensor
from tests.e2e.ssh.recorder import Recorder
from tests.e2e.ssh.world import World
from tests.turns import turn


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as opened:
        yield opened


@pytest.fixture(scope="module")
def recorder(world: World) -> Iterator[Recorder]:
    with turn(), sensor() as running:
        running.start()
        assert running.process
        world.watch(running.process.pid, running.instance.name)
        yield Recorder(running, world)
    world.watch()
