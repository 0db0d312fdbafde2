"""cgroup/connect_unix: the path of an AF_UNIX connect."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.network import NetworkAgent

pytestmark = [pytest.mark.root, pytest.mark.needs("unix_connect")]

_CONNECT = """
import socket
s = socket.socket(socket.AF_UNIX, int(sys.argv[2]))
print(s.connect_ex(sys.argv[1].replace("@", "\\0")))
"""


@pytest.mark.parametrize("kind", [1, 2], ids=["stream", "datagram"])
def test_unix_connect_has_the_path(network: NetworkAgent, tmp_path: Path, kind: int) -> None:
    path = str(tmp_path / "broker.sock")
    child = network.run(_CONNECT, path, kind)
    event = network.one("unix_connect")
    assert event.unix_connect.path == path
    assert event.unix_connect.cookie
    assert event.process.pid == child.pid
    assert child.output == str(errno.ENOENT)
    assert not event.unix_connect.refused


def test_unix_connect_to_an_abstract_name(network: NetworkAgent) -> None:
    network.run(_CONNECT, "@rubicon-abstract", 1)
    assert network.one("unix_connect").unix_connect.path == "@rubicon-abstract"


def test_unix_connect_with_the_longest_path(network: NetworkAgent) -> None:
    path = "/" + "p" * 106
    network.run(_CONNECT, path, 1)
    assert network.one("unix_connect").unix_connect.path == path


def test_unix_connect_is_refused_to_an_isolated_agent(network: NetworkAgent) -> None:
    network.isolate()
    assert network.run(_CONNECT, "/nowhere", 1).output == str(errno.ENOENT)  # the network alone was taken
    assert not network.one("unix_connect").unix_connect.refused
    network.isolate(AgentFlag.NO_UNIX)
    child = network.run(_CONNECT, "/nowhere", 1)
    assert child.output == str(errno.EPERM)
    assert network.of("unix_connect")[-1].unix_connect.refused
