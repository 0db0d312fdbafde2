"""A socket that somebody else hands over to an isolated agent carries no byte of it: the other end counts."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.network import AGENT, Child, NetworkAgent, listener

pytestmark = [pytest.mark.root, pytest.mark.needs("handed")]
MPTCP = 262
_TAKE = """
import os, socket, time
with socket.socket(fileno=int(sys.argv[1])) as giver:
    _, (got,), _, _ = socket.recv_fds(giver, 1, 1)
s = socket.socket(fileno=got)
"""
WAYS = {
    "send": "s.send(b'x')",
    "again": "for _ in range(5):\n    s.send(b'x')\n    time.sleep(0.3)",
    "corked": "s.setsockopt(6, 3, 1)\ns.send(b'x')\ns.send(b'y')",
    "more": "s.send(b'x', socket.MSG_MORE)",
    "sendfile": "f = os.memfd_create('f')\nos.write(f, b'x')\nos.sendfile(got, f, 0, 1)",
    "splice": "r, w = os.pipe()\nos.write(w, b'x')\nos.splice(r, got, 1)",
    "urgent": "s.send(b'x', socket.MSG_OOB)",
    "by a thread": "import threading\nt = threading.Thread(target=s.send, args=(b'x',))\nt.start()\nt.join()",
    "by a child": "if not os.fork():\n    s.send(b'x')\n    os._exit(0)\nos.wait()",
}


@pytest.fixture
def agent(network: NetworkAgent) -> Iterator[NetworkAgent]:
    """As the sensor isolates: the programs are on the root."""
    network.kernel.follow_leavers(True)
    network.kernel.isolating(True)
    network.isolate()
    yield network
    network.kernel.isolating(False)
    network.kernel.follow_leavers(False)


def hand_over(agent: NetworkAgent, made: socket.socket, code: str) -> Child:
    """The agent gets it, and does this."""
    ours, theirs = socket.socketpair()
    with ours, theirs, made:
        fd = theirs.fileno()
        tried = "try:\n " + code.replace("\n", "\n ") + "\nexcept OSError:\n pass\ntime.sleep(0.5)\n"
        child = agent.python(_TAKE + tried, fd, pass_fds=(fd,))
        socket.send_fds(ours, [b"x"], [made.fileno()])
    child.go()
    return child


def came(connection: socket.socket, seconds: float = 1.5) -> bytes:
    """What comes until the other end is closed, or nothing does for a while."""
    connection.settimeout(seconds)
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        return connection.recv(100)
    return b""


@pytest.mark.parametrize("protocol", [0, MPTCP], ids=["tcp", "mptcp"])
def test_handed_connection_carries_no_byte(agent: NetworkAgent, protocol: int) -> None:
    with listener() as (server, port), contextlib.ExitStack() as stack:
        tries = []
        for way in WAYS:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
            made.connect(("127.0.0.1", port))
            connection = stack.enter_context(server.accept()[0])
            tries.append((way, hand_over(agent, made, WAYS[way]), connection))
        for _, child, _ in tries:
            child.end()
        assert {way: came(connection) for way, _, connection in tries} == dict.fromkeys(WAYS, b"")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_handed_datagram_socket_carries_no_byte(agent: NetworkAgent, family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        for way in ("send", "again", "more", "splice", "by a child"):
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.connect(server.getsockname()[:2])
            hand_over(agent, made, WAYS[way]).end()
        assert came(server, 0.2) == b""


def test_handed_socket_becomes_the_agents(agent: NetworkAgent) -> None:
    """At the first send, without a look of the sensor."""
    with listener() as (server, port):
        made = socket.create_connection(("127.0.0.1", port))
        with server.accept()[0] as connection:
            child = hand_over(agent, made, WAYS["send"])
            child.end()
            event = agent.one("socket", lambda event: event.socket.flow.destination_port == port)
            assert event.process.pid == child.pid
            assert agent.kernel.destroy_sockets() in (0, 1), "it was closed, and waits to be repeated"
            assert came(connection) == b""


def test_handed_socket_of_another_agent_is_cut(agent: NetworkAgent) -> None:
    """The first owner stays; not so its packets."""
    other = AGENT + 1
    agent.kernel.agents.put(other, 0, 0)
    with listener() as (server, port):
        giver = agent.hold("cat", tag=False)
        task = agent.kernel.task(giver.pid)
        assert task
        assert agent.kernel.tags.add(giver.pid, other, task.start_time, 0)
        made = socket.create_connection(("127.0.0.1", port))
        with server.accept()[0] as connection:
            _owned_by(agent, giver, made)
            child = hand_over(agent, made, WAYS["again"])
            child.end()
            assert came(connection) == b""
    agent.kernel.agents.delete(other)


def _owned_by(agent: NetworkAgent, giver: Child, made: socket.socket) -> None:
    """Through a process of the other agent's, which holds it for a moment."""
    holder = agent.hold("cat", pass_fds=(made.fileno(),), tag=False)
    task, other = agent.kernel.task(holder.pid), agent.kernel.tags.get(giver.pid)
    assert task
    assert other
    assert agent.kernel.tags.add(holder.pid, other.agent, task.start_time, 0)
    assert agent.kernel.tag_sockets(other.agent) == 1


def test_handed_socket_to_an_allowed_place_goes_on(agent: NetworkAgent) -> None:
    with listener() as (server, port):
        agent.kernel.allows.replace(AGENT, {ipaddress.ip_network("127.0.0.1"): {port}})
        agent.isolate(AgentFlag.ALLOWS)
        made = socket.create_connection(("127.0.0.1", port))
        with server.accept()[0] as connection:
            hand_over(agent, made, WAYS["send"]).end()
            assert came(connection, 10) == b"x"


def test_handed_programs_leave_strangers_alone(agent: NetworkAgent) -> None:
    """Also what an interrupt sends in the middle of the agent's work."""
    busy = [agent.python("while True: pass") for _ in range(2)]
    for each in busy:
        each.go()
    with contextlib.ExitStack() as stack:
        server, port = stack.enter_context(listener())
        made = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        connection = stack.enter_context(server.accept()[0])
        connection.settimeout(60)
        for _ in range(200):
            made.sendall(bytes(100_000))
            left = 100_000
            while left:
                left -= len(connection.recv(left))
            connection.send(b"y")
            assert made.recv(1) == b"y"
