"""The objects for kernels before 5.12: they hold no atomic fetch, and do the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import host
from sensor.kernel.loader import Kernel
from sensor.kernel.objects import FOLDER, NO_FETCH
from sensor.kernel.programs import OBJECTS
from sensor.kernel.settings import KernelSettings
from tests.kernel.network import NetworkAgent, listener
from tests.kernel.watched import Watched

FETCH = re.compile(rb"atomic_fetch|cmpxchg|xchg")


@pytest.fixture
def kernel(instance: Instance, settings: KernelSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """What a sensor on such a kernel opens."""
    monkeypatch.setattr(host, "has_atomic_fetch", lambda: False)
    opened = Kernel.open(instance, settings)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("name", [entry.name for entry in OBJECTS])
def test_no_fetch_has_no_atomic_fetch(name: str) -> None:
    code = [
        subprocess.run(["llvm-objdump", "-d", folder / f"{name}.bpf.o"], capture_output=True, check=True).stdout
        for folder in (FOLDER, FOLDER / NO_FETCH)
    ]
    assert all(b"exit" in each for each in code)
    assert not FETCH.search(code[1])


def test_no_fetch_is_needed() -> None:
    code = subprocess.run(["llvm-objdump", "-d", FOLDER / "fork.bpf.o"], capture_output=True, check=True).stdout
    assert FETCH.search(code), "what the test above looks for"


@pytest.mark.root
def test_no_fetch_refuses_nothing_more(kernel: Kernel, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {fact.fact: (fact.state, fact.missing) for fact in kernel.coverage}
    monkeypatch.undo()
    monkeypatch.setenv("RUBICON_INSTANCE", instance.name.removeprefix("rubicon-"))
    newer = Kernel.open(instance, KernelSettings())
    try:
        assert {fact.fact: (fact.state, fact.missing) for fact in newer.coverage} == before
    finally:
        newer.close()


@pytest.mark.root
def test_no_fetch_records_processes(watched: Watched) -> None:
    pid, _ = watched.run("sh", "-c", "/bin/true & wait; exit 3")
    assert watched.ended(pid).exit.status == 3
    assert watched.one("fork").process.pid == pid
    assert watched.exec_of("true").exec.argv[:] == [b"/bin/true"]
    watched.empty()
    numbers = [(event.record.cpu, event.record.sequence) for event in watched.read()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.root
def test_no_fetch_records_flows(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.python(
            "import socket\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\ns.send(b'early')\n", port
        )
        child.go()
        server.accept()[0].close()
        child.end()
    assert network.one("connect").connect.flow.destination_port == port
    assert network.wait("payload")[0].payload.data == b"early"
    assert network.wait("close")[0].close.flow.destination_port == port
