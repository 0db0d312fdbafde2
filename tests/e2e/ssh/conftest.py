"""One world and one sensor for all scenarios."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator

import pytest

from tests.conftest import LOCK
from tests.e2e.sensor import sensor
from tests.e2e.ssh.recorder import Recorder
from tests.e2e.ssh.world import World


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make golden` records the detectors' samples anew."""
    parser.addoption("--golden", action="store_true", help="write the detectors' samples and golden alerts")


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--golden", default=False))


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with World() as opened:
        yield opened


@pytest.fixture(scope="session")
def recorder(world: World) -> Iterator[Recorder]:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock, sensor() as running:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running.start()
        yield Recorder(running, world)
