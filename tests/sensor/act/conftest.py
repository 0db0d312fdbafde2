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
