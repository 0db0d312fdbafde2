"""tp_btf/inet_sock_set_state at CLOSE: how a connection ended, with exact byte counts."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from rubicon.v1 import event_pb2
from tests.kernel.network import NetworkAgent, address, listener

pytestmark = pytest.mark.root

_DIAL = "import socket, struct\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
_TALK = """
s.sendall(bytes(int(sys.argv[2])))
s.shutdown(socket.SHUT_WR)
while s.recv(65536):
    pass
"""
_HARD = struct.pack("ii", 1, 0)


def _drain(connection: socket.socket) -> int:
    total = 0
    while data := connection.recv(65536):
        total += len(data)
    return total


@pytest.mark.parametrize(("sent", "received"), [(0, 0), (1, 0), (0, 1), (1000, 7), (3_000_017, 2_000_003)])
def test_close_counts_payload_bytes_exactly(network: NetworkAgent, sent: int, received: int) -> None:
    with listener() as (server, port):
        child = network.python(_DIAL + _TALK, port, sent)
        child.go()
        connection, client = server.accept()
        with connection:
            assert _drain(connection) == sent
            connection.sendall(bytes(received))
        child.end()
    event = network.one("close")
    close = event.close
    assert (close.bytes_sent, close.bytes_received) == (sent, received)
    assert (close.reason, close.error) == (event_pb2.CLOSE_REASON_CLOSED, 0)
    assert (close.flow.source, close.flow.source_port) == (address("127.0.0.1"), client[1])
    assert (close.flow.destination, close.flow.destination_port) == (address("127.0.0.1"), port)
    connected = network.one("connect")
    assert close.flow.cookie == connected.connect.flow.cookie
    assert abs(connected.time_ns + close.duration_ns - event.time_ns) < 1_000_000
    assert event.process.pid == child.pid


def test_close_of_an_accepted_socket_counts_from_its_own_start(network: NetworkAgent) -> None:
    child = network.python(
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nprint(server.getsockname()[1], flush=True)\n"
        "for _ in range(2):\n    c, _ = server.accept()\n"
        "    while c.recv(100):\n        c.send(b'four')\n    c.close()\n"
    )
    child.go()
    port = int(child.line())
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.send(b"hello")
            assert client.recv(10) == b"four"
            client.shutdown(socket.SHUT_WR)
            assert not client.recv(10)
    child.end()
    for event in network.wait("close", count=2):
        assert (event.close.bytes_sent, event.close.bytes_received) == (4, 5)


def test_close_says_refused(network: NetworkAgent) -> None:
    with listener() as (_, port):
        pass
    network.run("import socket\nsocket.socket().connect_ex(('127.0.0.1', int(sys.argv[1])))\n", port)
    close = network.one("close").close
    assert (close.reason, close.error) == (event_pb2.CLOSE_REASON_REFUSED, errno.ECONNREFUSED)
    assert (close.bytes_sent, close.bytes_received) == (0, 0)
    assert close.flow.destination_port == port
    assert not network.of("establish")


def test_close_says_reset_by_the_peer(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.python(
            _DIAL + "s.send(b'abc')\ntry:\n    s.recv(1)\nexcept ConnectionResetError:\n    pass\n", port
        )
        child.go()
        connection, _ = server.accept()
        assert connection.recv(3) == b"abc"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD)
        connection.close()
        child.end()
    close = network.one("close").close
    assert (close.reason, close.error) == (event_pb2.CLOSE_REASON_RESET, errno.ECONNRESET)
    assert close.bytes_sent == 3


def test_close_says_reset_by_the_agent(network: NetworkAgent) -> None:
    with listener() as (_, port):
        network.run(_DIAL + "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n", port)
    assert network.one("close").close.reason == event_pb2.CLOSE_REASON_RESET


def test_close_after_the_process_died_belongs_to_it(network: NetworkAgent) -> None:
    """A dying process's tag is gone before its sockets close: the socket carries its owner."""
    with listener() as (server, port):
        child = network.python(
            _DIAL + "import os, signal\ns.sendall(b'last words')\nos.kill(os.getpid(), signal.SIGKILL)\n", port
        )
        child.go()
        connection, _ = server.accept()
        assert child.process.wait(10) < 0
        assert network.kernel.tags.get(child.pid) is None
        assert not network.of("close")
        assert _drain(connection) == 10
        connection.close()
        event = network.one("close")
    assert (event.process.pid, event.process.start_time_ns) == (child.pid, child.start_time)
    assert event.close.bytes_sent == 10
