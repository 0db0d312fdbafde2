"""tp_btf/inet_sock_set_state at listen(2)."""

from __future__ import annotations

import pytest

from tests.kernel.network import NetworkAgent, address

pytestmark = pytest.mark.root


@pytest.mark.parametrize("local", ["127.0.0.1", "::1"])
def test_listen_has_the_bound_address(network: NetworkAgent, local: str) -> None:
    child = network.run(
        "import socket\n"
        "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
        "s.bind((sys.argv[1], 0))\ns.listen()\nprint(s.getsockname()[1])\n",
        local,
    )
    event = network.one("listen")
    assert event.listen.flow.source == address(local)
    assert str(event.listen.flow.source_port) == child.output
    assert event.listen.flow.cookie == network.one("socket").socket.flow.cookie
    assert event.process.pid == child.pid


def test_listen_without_bind_is_recorded(network: NetworkAgent) -> None:
    network.run("import socket\ns = socket.socket()\ns.listen()\n")
    assert network.one("listen").listen.flow.cookie == network.one("socket").socket.flow.cookie
    assert not network.of("bind")


def test_listen_of_a_datagram_socket_never_happens(network: NetworkAgent) -> None:
    network.run("import socket\nsocket.socket(type=socket.SOCK_DGRAM).bind(('127.0.0.1', 0))\n")
    network.wait("bind")
    assert not network.of("listen")
