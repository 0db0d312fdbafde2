"""Trap: MPTCP. Packets leave through subflow sockets that the kernel made, which never pass sock_create."""

from __future__ import annotations

import pytest

from tests.kernel.network import NetworkAgent, listener

pytestmark = pytest.mark.root

_MPTCP = 262


def test_mptcp_subflow_has_its_owner(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.python(
            f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {_MPTCP})\n"
            "s.connect(('127.0.0.1', int(sys.argv[1])))\ns.sendall(b'SSH-2.0-hidden')\ns.recv(1)\n",
            port,
        )
        child.go()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"SSH-2.0-hidden"
        child.end()
    assert network.one("socket").socket.flow.protocol == _MPTCP
    connect = network.one("connect")
    payload = network.one("payload")
    assert payload.payload.data == b"SSH-2.0-hidden"
    assert payload.payload.flow.cookie == connect.connect.flow.cookie
    assert payload.process.pid == child.pid
    assert network.one("close").close.bytes_sent == 14


def test_mptcp_on_both_sides_is_seen_both_ways(network: NetworkAgent) -> None:
    network.run(
        f"import socket\nserver = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {_MPTCP})\n"
        "server.bind(('127.0.0.1', 0))\nserver.listen()\n"
        f"client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {_MPTCP})\nclient.connect(server.getsockname())\n"
        "accepted, _ = server.accept()\nclient.send(b'there')\naccepted.recv(9)\n"
        "accepted.send(b'back')\nclient.recv(9)\n"
    )
    seen = [(event.payload.data, event.payload.outbound) for event in network.wait("payload", count=4)]
    assert sorted(seen) == [(b"back", False), (b"back", True), (b"there", False), (b"there", True)]
