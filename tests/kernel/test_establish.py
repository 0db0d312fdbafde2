"""tp_btf/inet_sock_set_state at ESTABLISHED: both directions, by the socket's owner."""

from __future__ import annotations

import socket

import pytest

from rubicon.v1 import flow_pb2
from tests.kernel.network import SO_COOKIE, NetworkAgent, address, listener

pytestmark = pytest.mark.root

_ACCEPT = f"""
import socket
server = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
print(int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, {SO_COOKIE}, 8), sys.byteorder), flush=True)
connection.recv(1)
"""


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_establish_outbound_has_both_sides(network: NetworkAgent, peer: str) -> None:
    with listener(peer) as (server, port):
        child = network.python(
            "import socket\ns = socket.create_connection((sys.argv[1], int(sys.argv[2])))\ns.recv(1)\n", peer, port
        )
        child.go()
        connection, client = server.accept()
        connection.close()
        child.end()
    event = network.one("establish")
    flow = event.establish.flow
    assert (flow.source, flow.source_port) == (address(peer), client[1])
    assert (flow.destination, flow.destination_port) == (address(peer), port)
    assert flow.direction == flow_pb2.FLOW_DIRECTION_OUTBOUND
    assert flow.cookie == network.one("connect").connect.flow.cookie
    assert event.process.pid == child.pid


@pytest.mark.parametrize("local", ["127.0.0.1", "::1"])
def test_establish_inbound_belongs_to_the_listeners_owner(network: NetworkAgent, local: str) -> None:
    child = network.python(_ACCEPT, local)
    child.go()
    port = int(child.line())
    with socket.create_connection((local, port)) as client:
        cookie = int(child.line())
        source_port = client.getsockname()[1]
        client.send(b"x")
        child.end()
    event = network.one("establish")
    flow = event.establish.flow
    assert flow.cookie == cookie != network.one("listen").listen.flow.cookie
    assert (flow.source, flow.source_port) == (address(local), port)
    assert (flow.destination, flow.destination_port) == (address(local), source_port)
    assert flow.direction == flow_pb2.FLOW_DIRECTION_INBOUND
    assert (event.process.pid, event.process.start_time_ns) == (child.pid, child.start_time)


def test_establish_by_loopback_within_the_agent_gives_two_flows(network: NetworkAgent) -> None:
    network.run(
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\nserver.accept()[0].send(b'x')\nclient.recv(1)\n"
    )
    inbound, outbound = sorted(
        (event.establish.flow for event in network.wait("establish", count=2)), key=lambda flow: -flow.direction
    )
    assert outbound.source_port == inbound.destination_port
    assert outbound.cookie != inbound.cookie
    sides = [(event.payload.flow.cookie, event.payload.outbound) for event in network.wait("payload", count=2)]
    assert sorted(sides) == sorted([(inbound.cookie, True), (outbound.cookie, False)])


def test_establish_outlives_the_listeners_maker(network: NetworkAgent) -> None:
    """The owner stands in the socket: the maker's tag is gone when the connection comes."""
    child = network.python(
        "import os, socket\nserver = socket.create_server(('127.0.0.1', 0))\nif os.fork():\n    os._exit(0)\n"
        "print(server.getsockname()[1], flush=True)\nserver.accept()[0].recv(1)\n"
    )
    child.go()
    port = int(child.line())
    child.process.wait(10)
    with socket.create_connection(("127.0.0.1", port)):
        event = network.one("establish")
    assert event.process.pid == child.pid
    assert network.kernel.tags.get(child.pid) is None
