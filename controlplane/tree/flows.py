"""The flows of one agent."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest

from controlplane.model.agent import Agent
from controlplane.model.changes import Changes
from controlplane.model.flow import Flow, FlowState
from controlplane.model.keys import ProcessKey
from controlplane.tree.shared import Shared
from rubicon.v1 import event_pb2, flow_pb2

_STREAM = 1
_SSH = b"SSH-"
_CLOSES = {
    event_pb2.CLOSE_REASON_REFUSED: FlowState.REFUSED,
    event_pb2.CLOSE_REASON_RESET: FlowState.RESET,
}
_BANNER = 255
"""Longest SSH identification string, RFC 4253 section 4.2."""


class Flows:
    """Sockets by cookie. What two records say differently, the one with the later kernel time decides."""

    def __init__(self, agent: Agent, shared: Shared) -> None:
        self.agent = agent
        self.by_cookie: dict[int, Flow] = {}
        self._shared = shared
        self._owned: dict[ProcessKey, dict[int, None]] = {}

    def of(self, owner: ProcessKey) -> Iterator[Flow]:
        """Flows that a process owns, oldest first."""
        flows = [self.by_cookie[cookie] for cookie in self._owned.get(owner, ())]
        return iter(sorted(flows, key=lambda flow: (flow.opened_ns, flow.cookie)))

    def seen(
        self, record: flow_pb2.Flow, owner: ProcessKey | None, time_ns: int, offset_ns: int, changes: Changes
    ) -> Flow | None:
        """A record about a socket; None when it has no cookie."""
        cookie = record.cookie
        if not cookie:
            return None
        flow = self.by_cookie.get(cookie)
        if flow is None:
            flow = self._open(cookie, time_ns, offset_ns, changes)
        changes.flow_of[cookie] = flow
        if time_ns < flow.opened_ns:
            flow.opened_ns, flow.opened_wall_ns = time_ns, time_ns + offset_ns
        if time_ns > flow.last_ns:
            flow.last_ns = time_ns
        if owner is not None and owner != flow.process and time_ns >= flow.owner_ns:
            self._own(flow, owner)
        if time_ns > flow.owner_ns:
            flow.owner_ns = time_ns
        flow.family = record.family or flow.family
        flow.type = record.type or flow.type
        flow.protocol = record.protocol or flow.protocol
        flow.direction = record.direction or flow.direction
        flow.netns_cookie = record.netns_cookie or flow.netns_cookie
        if (record.source or record.source_port) and time_ns >= flow.source_ns:
            flow.source, flow.source_port, flow.source_ns = record.source, record.source_port, time_ns
        if (record.destination or record.destination_port) and time_ns >= flow.destination_ns:
            flow.destination, flow.destination_port = record.destination, record.destination_port
            flow.destination_ns = time_ns
        return flow

    def state(self, flow: Flow, state: FlowState, time_ns: int, offset_ns: int) -> None:
        """The flow was in this state at `time_ns`."""
        if (time_ns, state) < (flow.state_ns, flow.state):
            return
        flow.state, flow.state_ns = state, time_ns
        if flow.closed:
            flow.closed_ns, flow.closed_wall_ns = time_ns, time_ns + offset_ns
            self._linger(flow)
        else:
            flow.closed_ns, flow.closed_wall_ns = 0, None

    def close(self, event: event_pb2.Event, owner: ProcessKey | None, offset_ns: int, changes: Changes) -> None:
        """TCP's own end of a connection, or of the attempt."""
        close = event.close
        time_ns = event.time_ns
        flow = self.seen(close.flow, owner, time_ns, offset_ns, changes)
        if flow is None:
            return
        if time_ns >= flow.counted_ns:
            flow.counted_ns = time_ns
            flow.bytes_sent, flow.bytes_received = close.bytes_sent, close.bytes_received
        self.state(flow, _CLOSES.get(close.reason, FlowState.CLOSED), time_ns, offset_ns)
        self._shared.sweep()

    def bytes(
        self,
        record: event_pb2.Packet | event_pb2.Payload,
        event: event_pb2.Event,
        owner: ProcessKey | None,
        offset_ns: int,
        changes: Changes,
    ) -> Flow | None:
        """A packet with payload: how far its direction is by now. The bulk of all records takes this way."""
        cookie = record.flow.cookie
        flow = self.by_cookie.get(cookie)
        time_ns = event.time_ns
        if flow is None or not flow.destination:
            flow = self.seen(record.flow, owner, time_ns, offset_ns, changes)
            if flow is None:
                return None
        elif time_ns > flow.last_ns:
            flow.last_ns = time_ns
        if flow.counted_ns:
            return flow
        total = record.offset + record.length
        if record.outbound:
            if total > flow.bytes_sent:
                flow.bytes_sent = total
                changes.flow_of[cookie] = flow
        elif total > flow.bytes_received:
            flow.bytes_received = total
            changes.flow_of[cookie] = flow
        return flow

    def payload(self, event: event_pb2.Event, owner: ProcessKey | None, offset_ns: int, changes: Changes) -> None:
        """First bytes: an SSH banner may stand after other lines (RFC 4253 section 4.2)."""
        payload = event.payload
        flow = self.bytes(payload, event, owner, offset_ns, changes)
        data = payload.data
        if flow is None or _SSH not in data:
            return
        at = 0 if data.startswith(_SSH) else data.find(b"\n" + _SSH) + 1
        if not data.startswith(_SSH, at):
            return
        banner = data[at : at + _BANNER].split(b"\n", 1)[0].rstrip(b"\r")
        if payload.outbound:
            flow.ssh_outbound = flow.ssh_outbound or banner
        else:
            flow.ssh_inbound = flow.ssh_inbound or banner
        changes.flow_of[flow.cookie] = flow

    def release(self, cookie: int, force: bool) -> bool:
        """A flow has lingered; True when it is not due and nothing else will report its end."""
        flow = self.by_cookie.get(cookie)
        if flow is None:
            return False
        connected = flow.type == _STREAM and FlowState.LISTENING <= flow.state < FlowState.DENIED
        if connected:
            flow.lingers = False
            return False
        if not force and flow.last_ns > self._shared.now_ns - self._shared.limits.flow_linger_ns:
            return True
        self._forget(flow)
        return False

    def forget_all(self) -> None:
        """The agent leaves memory."""
        self.by_cookie.clear()
        self._owned.clear()

    def _open(self, cookie: int, time_ns: int, offset_ns: int, changes: Changes) -> Flow:
        agent = self.agent
        flow = Flow(self._shared.boot, cookie, agent.id, None, time_ns + offset_ns, time_ns)
        if cookie not in self._shared.gone_flows:
            agent.flows += 1
            changes.agent_of[agent.id] = agent
        if len(self.by_cookie) >= self._shared.limits.agent_flows:
            self._make_room()
        self.by_cookie[cookie] = flow
        self._linger(flow)
        return flow

    def _linger(self, flow: Flow) -> None:
        if not flow.lingers:
            flow.lingers = True
            self._shared.idle(self, flow.cookie, flow.last_ns)

    def _own(self, flow: Flow, owner: ProcessKey) -> None:
        if flow.process is not None:
            self._disown(flow.process, flow.cookie)
        flow.process = owner
        self._owned.setdefault(owner, {})[flow.cookie] = None

    def _disown(self, owner: ProcessKey, cookie: int) -> None:
        owned = self._owned.get(owner)
        if owned is not None:
            owned.pop(cookie, None)
            if not owned:
                del self._owned[owner]

    def _make_room(self) -> None:
        """A quarter leaves at once, so that the search is paid rarely."""
        count = max(1, len(self.by_cookie) // 4)
        for flow in nsmallest(count, self.by_cookie.values(), key=lambda flow: (not flow.closed, flow.last_ns)):
            if not flow.closed:
                self.agent.flows_forgotten += 1
            self._forget(flow)

    def _forget(self, flow: Flow) -> None:
        cookie = flow.cookie
        del self.by_cookie[cookie]
        if flow.process is not None:
            self._disown(flow.process, cookie)
        self._shared.bury_flow(cookie)
