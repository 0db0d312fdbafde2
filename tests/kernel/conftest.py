"""Fixtures of the tests that run the real hooks: the kernel side of an instance of the test's own, and agents on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import host
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.kernel.network import NetworkAgent
from tests.kernel.watched import Watched

collect_ignore = [] if os.uname().machine == "x86_64" else ["test_foreign_abi.py"]  # int 0x80 is an instruction of x86
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def settings() -> KernelSettings:
    """The defaults; a module may have a fixture of its own."""
    return KernelSettings()


@pytest.fixture
def kernel(instance: Instance, settings: KernelSettings) -> Iterator[Kernel]:
    """Hooks attached, maps empty."""
    opened = Kernel.open(instance, settings)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def cgroups(instance: Instance) -> Path:
    """The folder of this instance's cgroups on the v2 mount."""
    folder = host.cgroup_root() / instance.cgroup
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def network(kernel: Kernel, cgroups: Path) -> Iterator[NetworkAgent]:
    """An agent whose packets are watched."""
    folder = cgroups / "network"
    folder.mkdir()
    agent = NetworkAgent(kernel, folder)
    try:
        yield agent
    finally:
        agent.clean()


@pytest.fixture
def watched(kernel: Kernel, cgroups: Path) -> Iterator[Watched]:
    """An agent with a cgroup of its own, and every process record of it."""
    agent = Watched(kernel, cgroups)
    try:
        yield agent
    finally:
        agent.clean()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compile one of tests/kernel/programs; the executable's path."""
    folder = tmp_path_factory.mktemp("programs")

    def compile_one(name: str) -> str:
        target = folder / name
        if not target.exists():
            command = ["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", str(target), str(PROGRAMS / f"{name}.c")]
            subprocess.run(command, check=True)
        return str(target)

    return compile_one
