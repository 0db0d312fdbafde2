"""cgroup/post_bind4, post_bind6: the address that a socket really got."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.network import NetworkAgent, address

pytestmark = pytest.mark.root

_SOCKET = "import socket\ns = socket.socket(int(sys.argv[1]), int(sys.argv[2]))\n"
_BIND = """
try:
    s.bind((sys.argv[3], 0))
    print(s.getsockname()[1])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("local", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_bind_has_the_port_that_the_kernel_picked(network: NetworkAgent, kind: int, local: str) -> None:
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    child = network.run(_SOCKET + _BIND, int(family), int(kind), local)
    event = network.one("bind")
    assert event.bind.flow.source == address(local)
    assert str(event.bind.flow.source_port) == child.output != "0"
    assert event.bind.flow.cookie == network.one("socket").socket.flow.cookie
    assert event.process.pid == child.pid


def test_bind_is_refused_to_an_isolated_agent(network: NetworkAgent) -> None:
    child = network.stopped(_SOCKET, _BIND, 2, 1, "127.0.0.1")
    network.isolate()
    child.finish()
    assert child.output == str(errno.EPERM)
    assert network.one("bind").bind.refused
