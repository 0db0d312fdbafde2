"""cgroup/sendmsg4, sendmsg6: destinations of datagrams."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.network import NetworkAgent, address

pytestmark = pytest.mark.root

_SOCKET = "import socket\ns = socket.socket(int(sys.argv[1]), socket.SOCK_DGRAM)\n"
_SEND = """
for port in sys.argv[3:]:
    try:
        s.sendto(b"x", (sys.argv[2], int(port)))
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.parametrize(
    ("family", "peer", "recorded"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
    ids=["ipv4", "ipv6", "mapped"],
)
def test_send_has_its_destination(network: NetworkAgent, family: int, peer: str, recorded: str) -> None:
    child = network.run(_SOCKET + _SEND, int(family), peer, 9)
    event = network.one("send")
    flow = event.send.flow
    assert (flow.destination, flow.destination_port) == (address(recorded), 9)
    assert (flow.type, flow.protocol) == (socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    assert flow.cookie == network.one("socket").socket.flow.cookie
    assert event.process.pid == child.pid


def test_send_is_recorded_for_each_new_destination(network: NetworkAgent) -> None:
    network.run(_SOCKET + _SEND, 2, "127.0.0.1", *range(1001, 1041))
    ports = [event.send.flow.destination_port for event in network.wait("send", count=40)]
    assert ports == list(range(1001, 1041))


def test_send_to_known_destinations_is_sampled(network: NetworkAgent) -> None:
    network.run(_SOCKET + _SEND, 2, "127.0.0.1", *[9, 10, 11, 12] * 256)
    network.wait("send", count=4 + 8)
    # four new ones, and the 8th, 16th, … 1024th datagram
    assert len(network.of("send")) == 4 + 8


def test_send_on_a_connected_socket_is_a_connect(network: NetworkAgent) -> None:
    network.run("import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.connect(('127.0.0.1', 9))\ns.send(b'x')\n")
    assert network.one("connect").connect.flow.destination_port == 9
    assert not network.of("send")


def test_send_is_refused_to_an_isolated_agent(network: NetworkAgent) -> None:
    child = network.stopped(_SOCKET, _SEND, 2, "127.0.0.1", 9)
    network.isolate()
    child.finish()
    assert child.output == str(errno.EPERM)
    assert network.one("send").send.refused
