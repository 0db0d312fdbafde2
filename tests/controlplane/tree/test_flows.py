"""Flows: whose, where to, how far, how much, and what leaves memory."""

from __future__ import annotations

import pytest

from controlplane.model import Flow, FlowState
from controlplane.tree import AgentTree, Limits
from rubicon.v1 import event_pb2, flow_pb2
from tests.controlplane.builders import Kernel, key, tcp
from tests.controlplane.tree.stand import Stand

ROOT, A = key(10), key(11)


def udp(cookie: int) -> flow_pb2.Flow:
    return flow_pb2.Flow(cookie=cookie, family=2, type=2, protocol=17, destination=b"\x08" * 4, destination_port=53)


def the(tree: AgentTree, cookie: int) -> Flow:
    flow = tree.flow(cookie)
    assert flow is not None
    return flow


def test_a_connection_from_socket_to_close() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(first := k.flow(A, "socket", flow_pb2.Flow(cookie=1, family=2, type=1, protocol=6)))
    flow = the(tree, 1)
    assert (flow.process, flow.state, flow.destination) == (A, FlowState.CREATED, b"")
    stand.take(k.flow(A, "connect", tcp(1)))
    assert (flow.state, flow.destination_port) == (FlowState.CONNECTING, 22)
    stand.take(k.flow(A, "establish", tcp(1)))
    stand.take(k.flow(A, "packet", tcp(1), outbound=True, offset=100, length=50))
    stand.take(k.flow(A, "packet", tcp(1), outbound=False, offset=0, length=7))
    assert (flow.state, flow.bytes_sent, flow.bytes_received) == (FlowState.ESTABLISHED, 150, 7)
    close = k.flow(A, "close", tcp(1), bytes_sent=200, bytes_received=9, reason=event_pb2.CLOSE_REASON_CLOSED)
    stand.take(close, k.flow(A, "packet", tcp(1), outbound=True, offset=900, length=9))
    assert (flow.state, flow.bytes_sent, flow.bytes_received) == (FlowState.CLOSED, 200, 9)
    assert (flow.opened_ns, flow.closed_ns) == (first.time_ns, close.time_ns)
    assert (tree.agent.flows, tree.agent.processes_total) == (1, 1)


@pytest.mark.parametrize(
    ("reason", "state"),
    [(event_pb2.CLOSE_REASON_REFUSED, FlowState.REFUSED), (event_pb2.CLOSE_REASON_RESET, FlowState.RESET)],
)
def test_refused_and_reset(reason: int, state: FlowState) -> None:
    k, stand = Kernel(), Stand()
    flow = the(stand.take(k.flow(A, "connect", tcp(1)), k.flow(A, "close", tcp(1), reason=reason)), 1)
    assert flow.state == state
    assert flow.closed


def test_a_socket_that_connects_again_is_open_again() -> None:
    k, stand = Kernel(), Stand()
    refused = k.flow(A, "close", tcp(1), reason=event_pb2.CLOSE_REASON_REFUSED)
    flow = the(stand.take(k.flow(A, "connect", tcp(1)), refused, k.flow(A, "connect", tcp(1, port=443))), 1)
    assert (flow.state, flow.closed_wall_ns, flow.destination_port) == (FlowState.CONNECTING, None, 443)


def test_what_a_hook_refused() -> None:
    k, stand = Kernel(), Stand()
    flow = the(stand.take(k.flow(A, "connect", tcp(1), refused=True)), 1)
    assert flow.state == FlowState.DENIED
    assert not flow.closed


def test_who_connects_owns_and_an_owner_that_is_gone_is_not_revived() -> None:
    k, stand = Kernel(), Stand()
    heir, ghost = key(12), key(99)
    tree = stand.take(k.enrol(ROOT), k.flow(A, "socket", tcp(1)), k.flow(heir, "connect", tcp(1)))
    assert [flow.cookie for flow in tree.flows_of(heir)] == [1]
    assert not list(tree.flows_of(A))
    stand.take(k.flow(ghost, "packet", tcp(2), outbound=True, length=1), k.flow(ghost, "close", tcp(2)))
    assert tree.process(ghost) is None
    assert [flow.cookie for flow in tree.flows_of(ghost)] == [2]


@pytest.mark.parametrize(
    ("data", "banner"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-OpenSSH_9.2"),
        (b"Welcome\r\nSSH-2.0-dropbear\r\nmore", b"SSH-2.0-dropbear"),
        (b"GET /SSH-2.0 HTTP/1.1\r\n", b""),
    ],
)
def test_ssh_banner_either_way(data: bytes, banner: bytes) -> None:
    k, stand = Kernel(), Stand()
    outbound = k.flow(A, "payload", tcp(1, port=443), outbound=True, data=data, length=len(data))
    flow = the(stand.take(k.flow(A, "connect", tcp(1, port=443)), outbound), 1)
    assert (flow.ssh_outbound, flow.ssh, flow.bytes_sent) == (banner, bool(banner), len(data))
    stand.take(k.flow(A, "payload", tcp(1, port=443), outbound=False, data=data, length=len(data)))
    assert flow.ssh_inbound == banner


def test_closed_flows_and_silent_datagram_sockets_leave() -> None:
    k, stand = Kernel(), Stand(Limits(flow_linger_ns=20_000))
    tree = stand.take(k.enrol(ROOT), k.flow(A, "connect", tcp(1)), k.flow(A, "establish", tcp(1)))
    for cookie in range(2, 100):
        stand.take(k.flow(A, "send", udp(cookie)), k.flow(A, "connect", tcp(1000 + cookie)))
        stand.take(k.flow(A, "close", tcp(1000 + cookie)))
    assert len(tree.flows.by_cookie) < 40
    assert tree.flow(1) is not None, "an established connection stays however long it is silent"
    assert (tree.agent.flows, tree.agent.flows_forgotten) == (197, 0)
    stand.take(k.flow(A, "send", udp(2)))
    assert tree.agent.flows == 197, "one that comes back is not counted again"


def test_too_many_open_flows_push_out_the_most_silent_and_are_counted() -> None:
    k, stand = Kernel(), Stand(Limits(agent_flows=100))
    tree = stand.take(k.enrol(ROOT))
    for cookie in range(1, 301):
        stand.take(k.flow(A, "connect", tcp(cookie)))
    assert len(tree.flows.by_cookie) <= 100
    assert tree.flow(300) is not None
    assert tree.agent.flows == 300
    assert tree.agent.flows_forgotten == 300 - len(tree.flows.by_cookie)
    assert len(list(tree.flows_of(A))) == len(tree.flows.by_cookie)


def test_a_record_without_cookie_is_nobodys_flow() -> None:
    k, stand = Kernel(), Stand()
    assert stand.take(k.flow(A, "socket", flow_pb2.Flow(family=2))).agent.flows == 0
