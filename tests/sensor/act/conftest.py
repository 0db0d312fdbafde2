"""Fixtures of the acting half's tests."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.sensor.act.stage import PROGRAMS, Stage


@pytest.fixture
def stage(root_lock: object, request: pytest.FixtureRequest) -> Iterator[Stage]:
    instance = Instance(f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}")
    instance.state_dir.mkdir(mode=0o700, parents=True)
    stage = Stage(instance, Kernel.open(instance, KernelSettings()), move=getattr(request, "param", "auto"))
    try:
        yield stage
    finally:
        stage.clean()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compile one of tests/e2e/programs; the executable's path."""
    folder = tmp_path_factory.mktemp("programs")

    def compiled(name: str) -> str:
        target = folder / name
        if not target.exists():
            subprocess.run(["cc", "-O2", "-Wall", "-o", str(target), str(PROGRAMS / f"{name}.c")], check=True)
        return str(target)

    return compiled
