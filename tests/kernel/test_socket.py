"""cgroup/sock_create: an internet socket of an agent."""

from __future__ import annotations

import errno
import socket
import sys

import pytest

from tests.kernel.network import AGENT, SO_COOKIE, SO_NETNS_COOKIE, NetworkAgent

pytestmark = pytest.mark.root

_SOCKET = f"""
import socket
s = socket.socket(*map(int, sys.argv[1:4]))
print(*(int.from_bytes(s.getsockopt(socket.SOL_SOCKET, o, 8), sys.byteorder) for o in ({SO_COOKIE}, {SO_NETNS_COOKIE})))
"""


@pytest.mark.parametrize(
    ("family", "kind", "asked", "protocol"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, 0, socket.IPPROTO_TCP),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_DGRAM, 0, socket.IPPROTO_UDP),
        (socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.IPPROTO_UDP),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, socket.IPPROTO_ICMP),
    ],
    ids=["tcp4", "tcp6", "udp4", "udp6", "raw"],
)
def test_socket_is_recorded_with_its_identity(
    network: NetworkAgent, family: int, kind: int, asked: int, protocol: int
) -> None:
    child = network.run(_SOCKET, int(family), int(kind), asked)
    event = network.one("socket")
    flow = event.socket.flow
    assert (flow.family, flow.type, flow.protocol) == (family, kind, protocol)
    assert f"{flow.cookie} {flow.netns_cookie}" == child.output
    assert (event.process.pid, event.process.start_time_ns) == (child.pid, child.start_time)
    assert not event.socket.refused


def test_socket_of_nobody_is_not_recorded(network: NetworkAgent) -> None:
    network.python(_SOCKET, 2, 1, 0, tag=False).finish()
    network.run(_SOCKET, 2, 1, 0)
    assert len(network.wait("socket")) == 1
    assert {event.agent_id for event in network.read()} == {f"{AGENT:012x}"}


def test_socket_of_a_thread_belongs_to_its_process(network: NetworkAgent) -> None:
    child = network.run("import socket, threading\nt = threading.Thread(target=socket.socket)\nt.start()\nt.join()\n")
    assert network.one("socket").process.pid == child.pid


def test_socket_in_a_new_network_namespace_has_its_cookie(network: NetworkAgent) -> None:
    own = "import ctypes\nassert not ctypes.CDLL(None).unshare(0x40000000)\n"
    child = network.run(own + _SOCKET, 2, 1, 0)
    with socket.socket() as here:
        ours = int.from_bytes(here.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
    flow = network.one("socket").socket.flow
    assert f"{flow.cookie} {flow.netns_cookie}" == child.output
    assert flow.netns_cookie != ours


def test_socket_is_refused_to_an_isolated_agent(network: NetworkAgent) -> None:
    network.isolate()
    child = network.run(
        "import socket\ntry:\n    socket.socket()\nexcept PermissionError as error:\n    print(error.errno)\n"
    )
    assert child.output == str(errno.EPERM)
    assert network.one("socket").socket.refused
