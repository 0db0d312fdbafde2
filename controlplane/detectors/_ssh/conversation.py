"""The SSH connections that an agent opened, as far as its packets tell: one Conversation for each socket."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from controlplane.detectors._ssh.later import Later
from controlplane.detectors._ssh.shape import Shape
from controlplane.detectors._ssh.wire import Mode, Side, modes_of
from controlplane.model.keys import ProcessKey, process_key
from controlplane.model.view import AgentView
from rubicon.v1 import event_pb2, flow_pb2, process_pb2

CONFIRMATION_ABOVE_LEAST = 16
OPEN_ABOVE_LEAST = 40
"""Bytes that the least CHANNEL_OPEN and CHANNEL_OPEN_CONFIRMATION (RFC 4254 5.1) have more than the smallest packet."""
MANY = 256
_MANY_UNDECIDED = 1024
_LEVELS = 8


class Seen(NamedTuple):
    """One packet: kernel time and payload bytes."""

    time_ns: int
    length: int


@dataclass(slots=True, eq=False)
class Conversation:
    """One outbound connection whose agent's side has sent an SSH banner."""

    cookie: int
    owner: ProcessKey
    """Process that made the socket; it may have handed it to a child since."""
    began: event_pb2.Event
    """The banner."""
    outbound: Side
    inbound: Side
    shape: Shape
    later: Later = field(default_factory=Later)
    opened_ns: int = 0
    """When the far side was last told that a channel which it asked for stands (by the sizes of both)."""
    sized: bool = False
    """A size pattern was told; one is enough."""
    received: deque[Seen] = field(default_factory=lambda: deque(maxlen=16))
    first_answer: Seen | None = None
    """The first packet that was sent after the newest one received. SSH_MSG_IGNORE, which asyncssh sends before
    everything, is none."""

    @property
    def banner(self) -> str:
        """What the agent's side calls itself."""
        return self.outbound.banner

    @property
    def serves(self) -> bool:
        """The agent's side acts as the server of a connection that it opened itself."""
        return self.outbound.role == "server" or self.inbound.role == "client"

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Cipher modes that its smallest packet allows; empty when that is not known."""
        return self.shape.modes


class Conversations:
    """Finds SSH in an agent's flows; bounded: the one that was quiet longest is forgotten first."""

    def __init__(self) -> None:
        self._sides: OrderedDict[int, tuple[Side, Side]] = OrderedDict()
        self._outbound: OrderedDict[int, None] = OrderedDict()
        self.by_cookie: OrderedDict[int, Conversation] = OrderedDict()

    def connect(self, flow: flow_pb2.Flow) -> None:
        """The agent opened this flow."""
        _remember(self._outbound, flow.cookie, None, _MANY_UNDECIDED)

    def payload(self, event: event_pb2.Event, agent: AgentView) -> Conversation | None:
        """First bytes of a flow; the conversation when these bytes told something new about it."""
        payload = event.payload
        cookie = payload.flow.cookie
        if (known := self.by_cookie.get(cookie)) is not None:
            side = known.outbound if payload.outbound else known.inbound
            before = known.serves
            side.feed(payload.offset, payload.data)
            return known if known.serves != before else None
        sides = self._sides.get(cookie)
        if sides is None:
            sides = (Side(), Side())
            _remember(self._sides, cookie, sides, _MANY_UNDECIDED)
        outbound, inbound = sides
        (outbound if payload.outbound else inbound).feed(payload.offset, payload.data)
        owner = process_key(event.process)
        if not outbound.banner or owner is None or not self._opened_here(cookie, payload.flow, agent):
            return None
        del self._sides[cookie]
        shape = Shape(one_write="OpenSSH" in outbound.banner)
        found = Conversation(cookie, owner, event, outbound, inbound, shape)
        _remember(self.by_cookie, cookie, found, MANY)
        return found

    def _opened_here(self, cookie: int, flow: flow_pb2.Flow, agent: AgentView) -> bool:
        if cookie in self._outbound or flow.direction == flow_pb2.FLOW_DIRECTION_OUTBOUND:
            return True
        known = agent.flow(cookie)
        return known is not None and known.direction == flow_pb2.FLOW_DIRECTION_OUTBOUND

    def packet(self, event: event_pb2.Event) -> tuple[Conversation | None, str]:
        """One packet of a flow: its conversation if it is one, and the size pattern in words when this packet
        completes it."""
        packet = event.packet
        found = self.by_cookie.get(packet.flow.cookie)
        if found is None:
            return None, ""
        self.by_cookie.move_to_end(found.cookie)
        return found, _take(found, event.time_ns, packet.outbound, packet.length)

    def close(self, cookie: int) -> None:
        """The flow ended."""
        self.by_cookie.pop(cookie, None)
        self._sides.pop(cookie, None)
        self._outbound.pop(cookie, None)

    def held_by(self, key: ProcessKey, agent: AgentView) -> Iterator[Conversation]:
        """Conversations whose socket the process has: its own, and those of its makers while it runs the image it was
        forked with.

        SSH clients that go to the background (`ssh -f`, ControlPersist) fork, and the child keeps the socket. One that was
        handed over counts, too; see `holder`.
        """
        keys = set(inherited_from(key, agent))
        for conversation in list(self.by_cookie.values()):
            if conversation.owner in keys or holder(conversation, agent) == key:
                yield conversation


def inherited_from(key: ProcessKey, agent: AgentView) -> Iterator[ProcessKey]:
    """The process, and the makers whose image and descriptors it still has from its fork, nearest first."""
    for _ in range(_LEVELS):
        yield key
        process = agent.process(key)
        if process is None or process.execs or process.maker is None:
            return
        key = process.maker


def holder(conversation: Conversation, agent: AgentView) -> ProcessKey:
    """The living process that has the conversation's socket: its maker; or else the youngest child that was forked
    with it; or else the one to whom the maker handed it over a socket that was its standard output (ssh_config(5)
    ProxyUseFdpass), the nearest ancestor that lives."""
    owner = agent.process(conversation.owner)
    if owner is None or owner.alive:
        return conversation.owner
    heirs = [
        process.key
        for process in agent.descendants(conversation.owner)
        if process.alive and conversation.owner in set(inherited_from(process.key, agent))
    ]
    if heirs:
        return heirs[-1]
    if any(descriptor.kind == process_pb2.DESCRIPTOR_KIND_SOCKET for descriptor in owner.image.stdio[:2]):
        for process in islice(agent.ancestors(conversation.owner), _LEVELS):
            if process.alive:
                return process.key
    return conversation.owner


def _take(conversation: Conversation, time_ns: int, outbound: bool, length: int) -> str:
    seen = Seen(time_ns, length)
    if outbound:
        if length not in conversation.shape.noise and conversation.first_answer is None:
            conversation.first_answer = seen
            least, received = conversation.shape.least, conversation.received
            asked = bool(least and received) and received[-1].length >= least + OPEN_ABOVE_LEAST
            if asked and length == least + CONFIRMATION_ABOVE_LEAST:
                conversation.opened_ns = time_ns
    else:
        conversation.received.append(seen)
        conversation.first_answer = None
    shape = conversation.shape
    least = shape.least
    pattern = shape.packet(time_ns, outbound, length)
    if least:
        pattern = conversation.later.packet(time_ns, outbound, length, least, modes_of(least)) or pattern
    if conversation.sized:
        return ""
    conversation.sized = bool(pattern)
    return pattern


def _remember(into: OrderedDict, key: int, value: object, many: int) -> None:  # type: ignore[type-arg]
    into[key] = value
    into.move_to_end(key)
    while len(into) > many:
        into.popitem(last=False)
