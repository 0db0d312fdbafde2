"""cgroup_skb: the first bytes each way, and the SSH banner on any port."""

from __future__ import annotations

import socket

import pytest

from rubicon.v1 import event_pb2
from tests.kernel.network import OWN_NAMESPACE, NetworkAgent, address, listener

pytestmark = pytest.mark.root

_DIAL = "import socket\ns = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"


def _pieces(network: NetworkAgent, outbound: bool) -> list[event_pb2.Payload]:
    return [event.payload for event in network.of("payload", lambda event: event.payload.outbound == outbound)]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_payload_both_ways_with_offsets(network: NetworkAgent, peer: str) -> None:
    with listener(peer) as (server, port):
        child = network.python(_DIAL + "s.send(b'one')\ns.recv(9)\ns.send(b'three')\ns.recv(9)\n", peer, port)
        child.go()
        connection, client = server.accept()
        assert connection.recv(9) == b"one"
        connection.send(b"seven..")
        assert connection.recv(9) == b"three"
        connection.close()
        child.end()
    events = network.wait("payload", count=3)
    assert [(p.data, p.offset, p.length) for p in _pieces(network, True)] == [(b"one", 0, 3), (b"three", 3, 5)]
    assert [(p.data, p.offset, p.length) for p in _pieces(network, False)] == [(b"seven..", 0, 7)]
    for event in events:
        flow = event.payload.flow
        assert (flow.source, flow.source_port) == (address(peer), client[1])
        assert (flow.destination, flow.destination_port) == (address(peer), port)
        assert flow.cookie == network.one("connect").connect.flow.cookie
        assert event.process.pid == child.pid


def test_payload_keeps_256_bytes_of_each_of_four(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.python(
            _DIAL + "for i in range(8):\n    s.send(bytes([i]) * 1000)\n    s.recv(1)\n", "127.0.0.1", port
        )
        child.go()
        connection, _ = server.accept()
        for _ in range(8):
            left = 1000
            while left:
                left -= len(connection.recv(left))
            connection.send(b"+")
        child.end()
        connection.close()
    network.one("close")
    out = _pieces(network, True)
    assert [p.data for p in out] == [bytes([i]) * 256 for i in range(4)]
    assert [(p.length, p.offset) for p in out] == [(1000, 1000 * i) for i in range(4)]
    assert len(_pieces(network, False)) == 4


def test_payload_of_datagrams(network: NetworkAgent) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        child = network.python(
            "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
            "s.sendto(b'question', ('127.0.0.1', int(sys.argv[1])))\ns.recv(99)\n",
            peer.getsockname()[1],
        )
        child.go()
        data, source = peer.recvfrom(99)
        assert data == b"question"
        peer.sendto(b"answer", source)
        child.end()
    assert [p.data for p in _pieces(network, True)] == [b"question"]
    (answer,) = _pieces(network, False)
    assert answer.data == b"answer"
    assert answer.flow.source_port == source[1]
    assert answer.flow.destination_port == network.one("send").send.flow.destination_port


def test_payload_behind_ipv6_extension_headers(network: NetworkAgent) -> None:
    """A destination-options header (RFC 8200, 4.6) stands before UDP."""
    ipv6_dstopts = 59
    network.run(
        "import socket\ns = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        f"s.setsockopt(socket.IPPROTO_IPV6, {ipv6_dstopts}, bytes([0, 1, 1, 12]) + bytes(12))\n"
        "s.sendto(b'behind', ('::1', 9))\n"
    )
    (piece,) = _pieces(network, True)
    assert piece.data == b"behind"
    assert (piece.flow.destination_port, piece.flow.protocol) == (9, socket.IPPROTO_UDP)


def test_payload_of_an_icmp_tunnel(network: NetworkAgent) -> None:
    echo = bytes([8, 0, 0, 0, 0, 1, 0, 1]) + b"exfiltrated"
    network.run(
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n"
        f"s.sendto({echo!r}, ('127.0.0.1', 0))\n"
    )
    assert network.wait("payload")[0].payload.data.endswith(b"exfiltrated")


def test_payload_shows_ssh_on_port_443(network: NetworkAgent) -> None:
    network.run(
        OWN_NAMESPACE + "server = socket.create_server(('127.0.0.1', 443))\n"
        "s = socket.create_connection(('127.0.0.1', 443))\naccepted, _ = server.accept()\n"
        "s.send(b'SSH-2.0-Renamed_1\\r\\n')\naccepted.recv(99)\naccepted.send(b'SSH-2.0-Outside\\r\\n')\ns.recv(99)\n"
    )
    out = network.wait("payload", lambda event: event.payload.flow.destination_port == 443, count=2)
    assert [event.payload.data for event in out] == [b"SSH-2.0-Renamed_1\r\n", b"SSH-2.0-Outside\r\n"]
    assert network.wait("payload", count=4)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_payload_is_dropped_both_ways_for_an_isolated_agent(network: NetworkAgent, peer: str) -> None:
    with listener(peer) as (server, port):
        child = network.stopped(
            _DIAL,
            "s.settimeout(0.3)\ntry:\n    s.send(b'out')\nexcept OSError:\n    pass\n"
            "try:\n    print(s.recv(9))\nexcept TimeoutError:\n    print('nothing')\n",
            peer,
            port,
        )
        connection, _ = server.accept()
        network.isolate()
        connection.send(b"in")
        child.finish()
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(9)
        connection.close()
    assert child.output == "nothing"
    assert not network.of("payload")
