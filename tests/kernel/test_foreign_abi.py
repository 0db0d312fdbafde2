"""Trap: system calls of another ABI (int 0x80) fire no syscall tracepoint; the hooks lie behind all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.network import NetworkAgent, listener
from tests.kernel.watched import AGENT, Watched

pytestmark = pytest.mark.root


def test_foreign_abi_connect_is_seen(network: NetworkAgent, compiled: Callable[[str], str]) -> None:
    with listener() as (server, port):
        child = network.hold("sh", "-c", 'read -r _; exec "$@"', "sh", compiled("foreign"), "connect", str(port))
        child.process.communicate("\n", timeout=10)
        server.accept()[0].close()
    assert network.one("socket").process.pid == child.pid
    assert network.one("connect").connect.flow.destination_port == port
    assert network.one("establish").process.pid == child.pid


def test_foreign_abi_fork_is_seen(watched: Watched, compiled: Callable[[str], str]) -> None:
    pid, output = watched.run(compiled("foreign"), "fork")
    event = watched.one("fork")
    assert (event.process.pid, event.fork.child.pid) == (pid, int(output))
    assert watched.exec_of("true").process.pid == int(output)
    watched.empty()


def test_foreign_abi_fork_of_a_condemned_agent_kills_the_maker(
    watched: Watched, compiled: Callable[[str], str]
) -> None:
    """The tracepoints of condemn.bpf.c are blind to it; the fork hook is not."""
    child = watched.start("sh", "-c", 'read -r _; "$@"', "sh", compiled("foreign"), "fork")
    watched.go(child)
    watched.one("exec")
    watched.kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    watched.go(child)
    assert child.wait(10) == -9
    assert not watched.of("exec", lambda event: event.exec.filename.endswith("true"))
