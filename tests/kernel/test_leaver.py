"""Trap: leaving the cgroup. The agent's own per-packet programs lose the process; those on the root see it by owner."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.kernel.network import NetworkAgent, listener

pytestmark = pytest.mark.root

_TALK = (
    "import socket\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
    "s.send(b'SSH-2.0-left')\ns.recv(99)\n"
)


@pytest.fixture
def following(network: NetworkAgent) -> Iterator[None]:
    network.kernel.follow_leavers(True)
    yield
    network.kernel.follow_leavers(False)


def _talk(network: NetworkAgent, leave: bool) -> list[tuple[bytes, bool]]:
    with listener() as (server, port):
        child = network.python(_TALK, port)
        if leave:
            network.leave(child)
        child.go()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(99) == b"SSH-2.0-left"
            connection.send(b"SSH-2.0-answer")
        child.end()
    network.one("close")
    return [(event.payload.data, event.payload.outbound) for event in network.of("payload")]


def test_leaver_is_followed_to_the_root(network: NetworkAgent, following: None) -> None:
    assert _talk(network, leave=True) == [(b"SSH-2.0-left", True), (b"SSH-2.0-answer", False)]


def test_leaver_is_not_followed_by_the_agents_own_programs(network: NetworkAgent) -> None:
    assert _talk(network, leave=True) == []


def test_leaver_programs_record_nobody_twice(network: NetworkAgent, following: None) -> None:
    assert _talk(network, leave=False) == [(b"SSH-2.0-left", True), (b"SSH-2.0-answer", False)]
    network.run("import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'once', ('127.0.0.1', 9))\n")
    assert len(network.wait("payload", lambda event: event.payload.data == b"once")) == 1


def test_leaver_programs_ignore_strangers(network: NetworkAgent, following: None) -> None:
    with listener() as (server, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.send(b"private")
        with server.accept()[0] as accepted:
            assert accepted.recv(99) == b"private"
    assert not network.read()


def test_leaver_that_is_isolated_is_dropped(network: NetworkAgent, following: None) -> None:
    with listener() as (server, port):
        child = network.python(_TALK.replace("s.send", "print(flush=True)\nsys.stdin.buffer.read(1)\ns.send"), port)
        network.leave(child)
        child.go()
        child.line()
        connection, _ = server.accept()
        with connection:
            network.isolate()
            child.go()
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(99)
    assert not network.of("payload")
