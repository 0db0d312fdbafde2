"""A plane to ask, and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from rubicon.client import Client
from rubicon.v1.instance import Instance
from tests.rubicon.world import World


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The plane lives in this process: what it logs must not stand between a command's lines."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A plane and a sensor that the test plays; they are the current instance."""
    made = World(tmp_path)
    monkeypatch.setattr(Instance, "current", classmethod(lambda _: made.instance))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    """A client of it."""
    with Client(world.instance) as made:
        yield made
