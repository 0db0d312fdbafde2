"""cgroup_skb: sizes of packets, and what an SSH flow shows after its first ones."""

from __future__ import annotations

import socket
import time

import pytest

from rubicon.v1 import event_pb2
from tests.kernel.network import NetworkAgent, listener

pytestmark = pytest.mark.root

_LIMIT = 64
_DIAL = (
    "import socket, time\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
)


def _packets(network: NetworkAgent, outbound: bool) -> list[event_pb2.Packet]:
    return [event.packet for event in network.of("packet", lambda event: event.packet.outbound == outbound)]


def _exchange(network: NetworkAgent, first: bytes, turns: int) -> None:
    """One packet out and one in, so many times; the first one out is given."""
    with listener() as (server, port):
        code = f"s.sendall({first!r})\ns.recv(99)\nfor i in range({turns - 1}):\n    s.send(b'ping')\n    s.recv(99)\n"
        child = network.python(_DIAL + code, port)
        child.go()
        connection, _ = server.accept()
        for _ in range(turns):
            connection.recv(99)
            connection.send(b"pong!")
        child.end()
        connection.close()
    network.one("close")


def test_packet_sizes_offsets_and_indices(network: NetworkAgent) -> None:
    _exchange(network, b"first", 4)
    out, into = _packets(network, True), _packets(network, False)
    assert [(p.length, p.offset, p.index) for p in out] == [(5, 0, 0), (4, 5, 1), (4, 9, 2), (4, 13, 3)]
    assert [(p.length, p.offset, p.index) for p in into] == [(5, 5 * i, i) for i in range(4)]


def test_packet_records_are_bounded(network: NetworkAgent) -> None:
    _exchange(network, b"plain", 100)
    assert len(_packets(network, True)) + len(_packets(network, False)) == _LIMIT


def test_packet_offsets_ignore_retransmissions_and_big_segments(network: NetworkAgent) -> None:
    size = 500_000
    with listener() as (server, port):
        child = network.python(_DIAL + f"s.sendall(bytes({size}))\n", port)
        child.go()
        connection, _ = server.accept()
        while connection.recv(65536):
            pass
        child.end()
        connection.close()
    network.one("close")
    out = _packets(network, True)
    expected = 0
    for packet in out:
        assert packet.offset == expected
        expected += packet.length
    assert expected == size or len(out) == _LIMIT


@pytest.mark.parametrize(
    ("head", "ssh"),
    [
        ([b"SSH-2.0-x\r\n"], True),
        ([b"S", b"SH", b"-2.0-x\r\n"], True),
        ([b"CONNECT a:22 HTTP/1.1\r\n\r\n", b"x", b"y", b"z", b"w", b"SSH-2.0-x\r\n"], True),
        ([b"GET / HTTP/1.1\r\nX: SSH-2.0\r\n\r\n"], False),
    ],
    ids=["banner", "in-pieces", "behind-a-proxy", "not-ssh"],
)
def test_packet_after_silence_is_recorded_on_ssh_flows(network: NetworkAgent, head: list[bytes], ssh: bool) -> None:
    """Past the first packets: the first inbound one after 20 ms of inbound silence, the ones close to it not."""
    with listener() as (server, port):
        code = f"for piece in {head!r}:\n    s.send(piece)\n    s.recv(99)\n"
        code += "for i in range(40):\n    s.send(b'ping')\n    s.recv(99)\nwhile s.recv(99):\n    pass\n"
        child = network.python(_DIAL + code, port)
        child.go()
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(len(head) + 40):
            connection.recv(99)
            connection.send(b"pong!")
        network.wait("packet", count=_LIMIT)
        before = len(network.of("packet"))
        sizes = []
        for size in (31, 32, 33):
            time.sleep(0.03)  # the silence that is measured
            sizes.append(size)
            connection.send(bytes(size))
        connection.close()
        child.end()
    network.one("close")
    after = [event.packet for event in network.of("packet")[before:]]
    assert [packet.length for packet in after if not packet.outbound] == (sizes if ssh else [])
    banner = [event for event in network.of("payload") if event.payload.data.startswith(b"SSH-")]
    assert bool(banner) == (ssh and b"SSH-2.0-x\r\n" in head)
