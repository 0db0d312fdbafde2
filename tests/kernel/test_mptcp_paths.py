"""MPTCP: the other end names a second address, and the kernel itself connects there, in no process's name."""

from __future__ import annotations

import ctypes
import ipaddress
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.network import AGENT, OWN_NAMESPACE, Child, NetworkAgent

pytestmark = pytest.mark.root
PORT = 7000
_SERVE = (
    OWN_NAMESPACE
    + f"""
import threading
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
server.bind(("0.0.0.0", {PORT}))
server.listen()
def take(connection):
    while connection.recv(1000): pass
def serve():
    while True:
        threading.Thread(target=take, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
print(flush=True)
sys.stdin.buffer.read(1)
"""
)
_CONNECT = f"""
import ctypes, os, socket
assert not ctypes.CDLL(None).setns(os.open(f"/proc/{{sys.argv[1]}}/ns/net", os.O_RDONLY), 0x40000000)
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.connect(("127.0.0.1", {PORT}))
s.send(b"x" * 100)
"""
_SEND = "print(sum(s.send(b'x') for _ in range(1000)))\n"


@pytest.fixture
def server(network: NetworkAgent) -> Iterator[Child]:
    """Nobody's, in a namespace of its own: it tells whoever connects that it is at 127.0.0.2 as well."""
    made = network.python(_SERVE, tag=False)
    made.go()
    made.line()
    for command in ("limits set subflow 2 add_addr_accepted 2", "endpoint add 127.0.0.2 dev lo signal"):
        subprocess.run(["nsenter", f"--net=/proc/{made.pid}/ns/net", "ip", "mptcp", *command.split()], check=True)
    network.kernel.follow_leavers(True)
    network.kernel.isolating(True)
    yield made
    network.kernel.isolating(False)
    network.kernel.follow_leavers(False)
    made.finish()


def second_path(server: Child) -> bool:
    """A connection to the second address stands."""
    command = ["nsenter", f"--net=/proc/{server.pid}/ns/net", "ss", "-Htn", "state", "established", "dst", "127.0.0.2"]
    return bool(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def until_it_stands(server: Child, wanted: bool = True) -> None:
    deadline = time.monotonic() + 40
    while second_path(server) is not wanted:
        assert time.monotonic() < deadline, f"a connection to the second address: {not wanted}"
        time.sleep(0.05)


def allow_the_first(network: NetworkAgent) -> None:
    network.kernel.allows.replace(AGENT, {ipaddress.ip_network("127.0.0.1"): {PORT}})
    network.isolate(AgentFlag.ALLOWS)


def test_mptcp_second_path_that_is_not_allowed_does_not_come_to_stand(network: NetworkAgent, server: Child) -> None:
    free = network.stopped(_CONNECT, "", server.pid)
    until_it_stands(server)
    free.finish()
    until_it_stands(server, False)
    allow_the_first(network)
    child = network.stopped(_CONNECT, _SEND, server.pid)
    for _ in range(20):
        assert not second_path(server)
        time.sleep(0.05)
    child.finish()
    assert not second_path(server)
    assert child.output == "1000", "the first goes on"


def test_mptcp_second_path_that_is_not_allowed_is_destroyed(network: NetworkAgent, server: Child) -> None:
    child = network.stopped(_CONNECT, _SEND, server.pid)
    until_it_stands(server)
    allow_the_first(network)
    assert _destroyed_in(network, server) == 1
    assert not second_path(server)
    child.finish()
    assert child.output == "1000"


def _destroyed_in(network: NetworkAgent, server: Child) -> int:
    """As the sensor goes from namespace to namespace."""
    found: list[int] = []

    def inside() -> None:
        with open(f"/proc/{server.pid}/ns/net") as namespace:
            assert not ctypes.CDLL(None).setns(namespace.fileno(), 0x40000000)
        found.append(network.kernel.destroy_sockets())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    return found[0]
