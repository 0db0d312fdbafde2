"""cgroup/connect4, connect6: where an agent connects to, and its refusal."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.network import NetworkAgent, address, listener

pytestmark = pytest.mark.root

_SOCKET = "import socket\ns = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
_CONNECT = "print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))\n"


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_connect_has_its_destination(network: NetworkAgent, peer: str) -> None:
    with listener(peer) as (_, port):
        child = network.run(_SOCKET + _CONNECT, peer, port)
    event = network.one("connect")
    flow = event.connect.flow
    assert (flow.destination, flow.destination_port) == (address(peer), port)
    assert flow.cookie == network.one("socket").socket.flow.cookie
    assert event.process.pid == child.pid
    assert not event.connect.refused
    assert child.output == "0"


def test_connect_to_a_mapped_address_keeps_it(network: NetworkAgent) -> None:
    with listener() as (_, port):
        network.run(_SOCKET + _CONNECT, "::ffff:127.0.0.1", port)
    assert network.one("connect").connect.flow.destination == address("::ffff:127.0.0.1")
    assert network.one("establish").establish.flow.destination == address("::ffff:127.0.0.1")


def test_connect_of_a_datagram_socket_is_recorded(network: NetworkAgent) -> None:
    network.run("import socket\nsocket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 53))\n")
    flow = network.one("connect").connect.flow
    assert (flow.type, flow.protocol, flow.destination_port) == (socket.SOCK_DGRAM, socket.IPPROTO_UDP, 53)


def test_connect_by_fast_open_is_recorded(network: NetworkAgent) -> None:
    with listener() as (server, port):
        network.run(
            "import socket\ns = socket.socket()\n"
            "s.sendto(b'early', socket.MSG_FASTOPEN, ('127.0.0.1', int(sys.argv[1])))\n",
            port,
        )
        server.accept()[0].close()
    assert network.one("connect").connect.flow.destination_port == port
    assert network.wait("payload")[0].payload.data == b"early"


def test_connect_after_leaving_the_cgroup_is_still_seen(network: NetworkAgent) -> None:
    with listener() as (_, port):
        child = network.python(_SOCKET + _CONNECT, "127.0.0.1", port)
        network.leave(child)
        child.finish()
        event = network.one("connect")
        assert event.process.pid == child.pid
        assert event.connect.flow.destination_port == port
        assert network.one("establish").process.pid == child.pid
    assert network.one("close").process.pid == child.pid


def test_connect_of_a_socket_older_than_the_enrolment_gets_an_owner(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.stopped(_SOCKET, _CONNECT + "s.send(b'hello')\n", "127.0.0.1", port, tag=False)
        network.tag(child.pid)
        child.finish()
        server.accept()[0].close()
    assert not network.of("socket")
    assert network.one("establish").process.pid == child.pid
    assert network.one("close").close.bytes_sent == 5


def test_connect_by_a_child_takes_the_parents_socket_over(network: NetworkAgent) -> None:
    with listener() as (_, port):
        child = network.run(
            _SOCKET + "import os\nif not os.fork():\n    s.connect((sys.argv[1], int(sys.argv[2])))\n    os._exit(0)\n"
            "print(os.wait()[0])\n",
            "127.0.0.1",
            port,
        )
    assert network.one("socket").process.pid == child.pid
    assert str(network.one("connect").process.pid) == child.output
    assert str(network.one("establish").process.pid) == child.output


def test_connect_is_refused_to_an_isolated_agent(network: NetworkAgent) -> None:
    with listener() as (server, port):
        child = network.stopped(_SOCKET, _CONNECT, "127.0.0.1", port)
        network.isolate()
        child.finish()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert child.output == str(errno.EPERM)
    assert network.one("connect").connect.refused
    assert not network.of("establish")


def test_connect_of_others_is_not_refused_meanwhile(network: NetworkAgent) -> None:
    network.isolate()
    with listener() as (_, port), socket.create_connection(("127.0.0.1", port)):
        pass
    assert not network.of("connect")
