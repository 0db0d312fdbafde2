"""Fixtures of the acting half's tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.sensor.act.isolating import Client, accepted
from tests.sensor.act.stage import Stage


@pytest.fixture
def stage(root_lock: object, request: pytest.FixtureRequest) -> Iterator[Stage]:
    instance = Instance(f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}")
    instance.state_dir.mkdir(mode=0o700, parents=True)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, instance.state_dir, ignore_errors=True)
        undo.callback(Kernel.unload, instance)
        stage = Stage(instance, Kernel.open(instance, KernelSettings()), move=getattr(request, "param", "auto"))
        undo.callback(stage.clean)
        yield stage


@pytest.fixture
def client(stage: Stage) -> Client:
    return Client(stage)


@pytest.fixture(params=["kernel", "inet_diag"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sockets are destroyed by the kernel's own iterators, or, before Linux 6.5, through inet_diag."""
    if request.param == "inet_diag":
        monkeypatch.setattr(Kernel, "destroys_sockets", False)
    return str(request.param)


@pytest.fixture(autouse=True)
def _accepted() -> Iterator[None]:
    yield
    while accepted:
        accepted.pop().close()
