"""A kernel side that knows an agent, a folder like the daemons', and what was told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2
from rubicon.v1.instance import Instance
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.sensor.guard.agent import AGENT


@pytest.fixture
def kernel(instance: Instance) -> Iterator[Kernel]:
    opened = Kernel.open(instance, KernelSettings())
    opened.agents.put(AGENT, 1, 0)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("state/plane", "state/log"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("state/token.key", "state/plane/rubicon.db", "state/log/plane.log", "forged", "beside"):
        (tmp_path / name).write_text(name)
    return tmp_path / "state"


@pytest.fixture
def told() -> list[event_pb2.Event]:
    return []
