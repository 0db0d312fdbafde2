"""iter/tcp and iter/udp with bpf_sock_destroy: whatever an isolated agent may not have, wherever it is; nothing else."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Iterator

import pytest

from sensor.kernel.enums import AgentFlag
from sensor.kernel.maps import Network
from tests.kernel.network import AGENT, Child, NetworkAgent, listener

pytestmark = [pytest.mark.root, pytest.mark.needs("destroy")]
_CONNECT = """
import socket
kinds = {"tcp": (1, 0), "udp": (2, 0), "mptcp": (1, 262)}
held = []
for port in sys.argv[3:]:
    held.append(socket.socket(int(sys.argv[2]), *kinds[sys.argv[1]]))
    held[-1].connect(("127.0.0.1" if sys.argv[2] == "2" else "::1", int(port)))
"""
_SEND = """
for each in held:
    try:
        print(each.send(b"x"))
    except OSError as error:
        print(-error.errno)
"""
_FILL = """
import socket
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as made:
    made.setblocking(False)
    try:
        while True:
            made.send(bytes(65536))
    except BlockingIOError:
        pass
"""


@pytest.fixture(params=["tcp", "mptcp"])
def connected(request: pytest.FixtureRequest, network: NetworkAgent) -> Iterator[tuple[Child, list[socket.socket]]]:
    """An agent with two connections, to two ports; the other ends."""
    with listener() as (one, first), listener() as (two, second):
        child = network.stopped(_CONNECT, _SEND, request.param, int(socket.AF_INET), first, second)
        with one.accept()[0] as here, two.accept()[0] as there:
            yield child, [here, there]


def reset(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def allow(network: NetworkAgent, *where: tuple[str, int]) -> None:
    entries: dict[Network, set[int]] = {ipaddress.ip_network(address): {port} for address, port in where}
    network.kernel.allows.replace(AGENT, entries)
    network.isolate(AgentFlag.ALLOWS)


def test_destroy_takes_nothing_from_who_is_not_isolated(
    network: NetworkAgent, connected: tuple[Child, list[socket.socket]]
) -> None:
    child, others = connected
    assert network.kernel.destroy_sockets() == 0
    child.finish()
    assert child.output.split() == ["1", "1"]
    assert [each.recv(9) for each in others] == [b"x", b"x"]


def test_destroy_takes_every_connection(network: NetworkAgent, connected: tuple[Child, list[socket.socket]]) -> None:
    child, others = connected
    network.isolate()
    assert network.kernel.destroy_sockets() == 2
    assert all(reset(each) for each in others)
    child.finish()
    assert all(int(each) < 0 for each in child.output.split())


def test_destroy_spares_what_is_allowed(network: NetworkAgent, connected: tuple[Child, list[socket.socket]]) -> None:
    child, others = connected
    allow(network, ("127.0.0.1", others[1].getsockname()[1]))
    assert network.kernel.destroy_sockets() == 1
    assert reset(others[0])
    child.finish()
    first, second = map(int, child.output.split())
    assert first < 0
    assert second == 1
    assert others[1].recv(9) == b"x"


def test_destroy_knows_a_mapped_address(network: NetworkAgent) -> None:
    code = _CONNECT.replace('"::1"', '"::ffff:127.0.0.1"')
    with listener() as (server, port), listener() as (other, second):
        child = network.stopped(code, _SEND, "tcp", int(socket.AF_INET6), port, second)
        with server.accept()[0] as connection, other.accept()[0]:
            allow(network, ("127.0.0.0/8", port))
            assert network.kernel.destroy_sockets() == 1
            child.finish()
            assert child.output.split()[0] == "1"
            assert connection.recv(9) == b"x"


def test_destroy_takes_the_peer_of_a_datagram_socket(network: NetworkAgent) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        child = network.stopped(_CONNECT, _SEND, "udp", int(socket.AF_INET), server.getsockname()[1])
        network.isolate()
        assert network.kernel.destroy_sockets() == 1
        child.finish()
        assert child.output.split() == [str(-errno.EDESTADDRREQ)]


@pytest.mark.parametrize("left", [False, True], ids=["inside", "left"])
def test_destroy_takes_what_waits_in_a_socket_that_nobody_holds(network: NetworkAgent, left: bool) -> None:
    """Its process has ended; what it had written would go on to whoever reads it one day."""
    with listener() as (server, port):
        child = network.python(_FILL, port)
        if left:
            network.leave(child)
        child.go()
        with server.accept()[0] as slow:
            child.end()
            network.isolate()
            assert network.kernel.destroy_sockets() == 1
            assert reset(slow)


def test_destroy_takes_an_mptcp_connection_that_was_inherited(network: NetworkAgent) -> None:
    """Its subflows are the kernel's own sockets, of another cgroup and without an owner."""
    with listener() as (server, port):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as made:
            made.connect(("127.0.0.1", port))
            fd = made.fileno()
            child = network.python(f"import socket\nheld = [socket.socket(fileno={fd})]\n" + _SEND, pass_fds=(fd,))
        assert network.kernel.tag_sockets(AGENT) == 1
        with server.accept()[0] as connection:
            network.isolate()
            assert network.kernel.destroy_sockets() == 1
            assert reset(connection)
        child.finish()
        assert int(child.output) < 0
        deadline = time.monotonic() + 40
        while [each.state for each in network.kernel.sockets() if each.state == 1]:
            assert time.monotonic() < deadline, "it still counts as connected"


@pytest.mark.parametrize("stranger", [False, True])
def test_destroy_tells_whose_an_unowned_socket_is_by_its_cgroup(network: NetworkAgent, stranger: bool) -> None:
    """Not where an agent brought a stranger there: it may be his."""
    with listener() as (server, port):
        child = network.python(_CONNECT + "print(flush=True)\nsys.stdin.read(1)\n" + _SEND, "tcp", 2, port)
        assert network.kernel.tags.delete(child.pid)
        child.go()
        with server.accept()[0] as connection:
            child.line()
            network.isolate(AgentFlag.STRANGER if stranger else 0)
            assert network.kernel.destroy_sockets() == (0 if stranger else 1)
            child.finish()
            assert (child.output == "1") is stranger
            assert reset(connection) is not stranger


def test_destroy_takes_hundreds_at_once(network: NetworkAgent) -> None:
    """More than one page of the iterator's answer."""
    code = (
        "import socket\nheld = []\nfor _ in range(900):\n"
        " held.append(socket.create_connection(('127.0.0.1', int(sys.argv[1]))))\n"
    )
    others = []
    with listener() as (server, port):
        server.listen(1000)
        child = network.stopped(code, "", port)
        others = [server.accept()[0] for _ in range(900)]
        network.isolate()
        assert network.kernel.destroy_sockets() == 900
        assert all(reset(each) for each in others)
        for each in others:
            each.close()
        assert network.kernel.destroy_sockets() == 0
        child.finish()
