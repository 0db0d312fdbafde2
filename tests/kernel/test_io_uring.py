"""Trap: io_uring. A connect from an SQPOLL thread is no system call of the process."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from tests.kernel.network import PROGRAMS, NetworkAgent, listener

pytestmark = pytest.mark.root


@pytest.fixture
def sqpoll_connect(tmp_path: Path) -> str:
    target = tmp_path / "sqpoll_connect"
    source = PROGRAMS / "sqpoll_connect.c"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", target, source], check=True)
    return str(target)


def test_io_uring_sqpoll_connect_is_seen(network: NetworkAgent, sqpoll_connect: str) -> None:
    with listener() as (server, port):
        child = network.hold(sqpoll_connect, str(port))
        child.finish()
        server.accept()[0].close()
    assert child.output == "0"
    event = network.one("connect")
    assert event.connect.flow.destination_port == port
    assert event.process.pid == child.pid
    assert network.one("socket").process.pid == child.pid
    assert network.one("establish").process.pid == child.pid


def test_io_uring_sqpoll_socket_is_refused_to_an_isolated_agent(network: NetworkAgent, sqpoll_connect: str) -> None:
    with listener() as (_, port):
        child = network.hold(sqpoll_connect, str(port))
        network.isolate()
        child.go()
        assert child.process.wait(10) == 2
    assert network.one("socket").socket.refused
    assert not network.of("connect")


def test_io_uring_sqpoll_connect_of_a_socket_from_before_is_refused(network: NetworkAgent, sqpoll_connect: str) -> None:
    with listener() as (server, port):
        child = network.hold(sqpoll_connect, str(port), "connect")
        child.go()
        assert child.line() == "ready"
        network.isolate()
        child.finish()
        assert child.output == str(-errno.EPERM)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_io_uring_sqpoll_send_on_a_connection_from_before_is_dropped(
    network: NetworkAgent, sqpoll_connect: str
) -> None:
    with listener() as (server, port):
        child = network.hold(sqpoll_connect, str(port), "send")
        child.go()
        assert child.line() == "ready"
        with server.accept()[0] as connection:
            network.isolate()
            child.finish()
            assert child.output == "100", "the socket takes it"
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(100)
