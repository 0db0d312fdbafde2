"""Traps: a socket inherited, passed by SCM_RIGHTS, or older than the enrolment (iter/task_file)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.kernel.network import AGENT, NetworkAgent, address, listener

pytestmark = pytest.mark.root

_USE = "s.send(b'SSH-2.0-inherited')\ns.recv(99)\n"


@pytest.fixture
def pair(network: NetworkAgent) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of nobody's, whose first side the agent will get; packets of it pass the root's programs only."""
    network.kernel.follow_leavers(True)
    with listener() as (server, port):
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted
    network.kernel.follow_leavers(False)


def _check(network: NetworkAgent, pid: int, accepted: socket.socket) -> None:
    assert accepted.recv(99) == b"SSH-2.0-inherited"
    accepted.send(b"SSH-2.0-answer")
    out, into = network.wait("payload", count=2)
    assert (out.payload.data, out.payload.outbound) == (b"SSH-2.0-inherited", True)
    assert (into.payload.data, into.payload.outbound) == (b"SSH-2.0-answer", False)
    assert out.process.pid == into.process.pid == pid
    assert out.payload.flow.destination_port == accepted.getsockname()[1]


def test_inherited_socket_gets_an_owner(network: NetworkAgent, pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    local = client.getsockname()
    fd = client.fileno()
    child = network.python(f"import socket\ns = socket.socket(fileno={fd})\n" + _USE, pass_fds=(fd,))
    assert network.kernel.tag_sockets(AGENT) == 1
    client.close()
    event = network.one("socket")
    flow = event.socket.flow
    assert (flow.source, flow.source_port) == (address("127.0.0.1"), local[1])
    assert (flow.destination, flow.destination_port) == (address("127.0.0.1"), accepted.getsockname()[1])
    assert (event.process.pid, event.process.start_time_ns) == (child.pid, child.start_time)
    child.go()
    _check(network, child.pid, accepted)
    child.end()
    accepted.close()
    assert network.one("close").close.bytes_sent == len(b"SSH-2.0-inherited")


def test_scm_rights_socket_gets_an_owner(network: NetworkAgent, pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        child = network.python(
            f"import socket\nu = socket.socket(fileno={fd})\n_, (got,), _, _ = socket.recv_fds(u, 1, 1)\n"
            "s = socket.socket(fileno=got)\nprint(flush=True)\nsys.stdin.buffer.read(1)\n" + _USE,
            pass_fds=(fd,),
        )
        child.go()
        assert network.kernel.tag_sockets(AGENT) == 0
        socket.send_fds(ours, [b"x"], [client.fileno()])
        child.line()
    client.close()
    assert network.kernel.tag_sockets(AGENT) == 1
    child.go()
    _check(network, child.pid, accepted)
    child.end()


def test_socket_older_than_the_enrolment_gets_an_owner(
    network: NetworkAgent, pair: tuple[socket.socket, socket.socket]
) -> None:
    with listener() as (server, port):
        child = network.stopped(
            "import socket\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n", _USE, port, tag=False
        )
        accepted, _ = server.accept()
        assert network.kernel.tag_sockets(AGENT) == 0
        network.tag(child.pid)
        assert network.kernel.tag_sockets(AGENT) == 1
        child.go()
        with accepted:
            _check(network, child.pid, accepted)
        child.end()


def test_sockets_keep_their_first_owner(network: NetworkAgent) -> None:
    child = network.stopped("import socket\ns = socket.socket()\n", "")
    assert network.kernel.tag_sockets(AGENT) == 0
    child.finish()
    assert network.one("socket").process.pid == child.pid


def test_sockets_of_strangers_stay_theirs(network: NetworkAgent) -> None:
    with listener():
        child = network.hold("cat")
        assert network.kernel.tag_sockets(AGENT) == 0
        os.kill(child.pid, 9)
    assert not network.of("socket")
