"""A forward in use: what comes in over SSH makes the same process connect somewhere, and bytes then pass between the
two.

The order of OpenSSH, dropbear, PuTTY and asyncssh: CHANNEL_OPEN comes in, connect(), CHANNEL_OPEN_CONFIRMATION
(exactly m + 16 bytes, RFC 4254 5.1) goes out before anything is sent on the new connection. paramiko confirms first
and then connects. `-L`, `-D` and `-W` connect nowhere on this side; they accept. Agent and X11 forwarding look the
same and go to a Unix socket or to ports 6000 to 6063. A client of one's own may wait before it connects, or have a
child connect: then only what passes tells.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.detectors._ssh.conversation import (
    CONFIRMATION_ABOVE_LEAST,
    OPEN_ABOVE_LEAST,
    Conversation,
    Seen,
)
from controlplane.detectors._ssh.wire import MODES
from controlplane.model.keys import ProcessKey
from rubicon.v1 import event_pb2

_OPEN_AT_LEAST = 60
_SOON_NS = 250_000_000
_PASSED_NS = 100_000_000
"""What is relayed is passed on at once."""
_NEWEST = 4
"""Packets over SSH that what goes out is compared with."""
_MANY = 256
_DATA_HEADER = 9
_SIZES = 5
"""Different sizes that are counted; so many must agree where nothing but sizes tells."""
_TELLING, _LARGE = 4, 512
"""Bytes. Fewer are within the size of a channel's own messages; as many agree with nothing by chance."""
_VOLUME = 2048
"""Through a proxy packets are cut anew: from so many bytes on, volumes are compared as well."""
_CHANNEL_PACKETS = (32768, 32704, 16384)
"""Most bytes of one channel packet: OpenSSH, PuTTY and asyncssh; paramiko; dropbear."""
X11 = range(6000, 6064)


@dataclass(slots=True, eq=False)
class Agreed:
    """One direction of a connection: how much of what passed agrees in size with SSH packets."""

    packets: int = 0
    bytes: int = 0
    agreeing: int = 0
    sizes: set[int] = field(default_factory=set)

    def add(self, size: int) -> None:
        """A packet of this size agrees with one over SSH."""
        self.agreeing += 1
        if len(self.sizes) < _SIZES and size >= _TELLING:
            self.sizes.add(size)

    @property
    def largest(self) -> int:
        """Of the sizes that agree."""
        return max(self.sizes, default=0)

    @property
    def weight(self) -> int:
        """Different sizes that agree; a large one, which hardly does by chance, counts twice."""
        return sum(2 if size >= _LARGE else 1 for size in self.sizes)

    @property
    def mostly(self) -> bool:
        """At least three of four packets agree."""
        return self.agreeing * 4 >= self.packets * 3


@dataclass(slots=True, eq=False)
class Local:
    """A connection that may be the near end of a forward over an SSH connection."""

    conversation: Conversation
    asked: Seen | None
    """What came in over SSH right before the connect."""
    connect: event_pb2.Event
    through: bool = False
    """The one that connected uses the conversation through a proxy, which may be SSH once more (`ssh -W`)."""
    below: bool = False
    """The one that connected is a child of the holder, with pipes to it."""
    since_ns: int = 0
    """Before this no data can have come in over SSH for it: its connect, or when the far side was told that it stands
    (paramiko does so before)."""
    established: bool = False
    confirmed: bool = False
    """It was told so after that."""
    speaks: bool = False
    """It speaks SSH, with the holder's own banner: it may be one more connection of a client of many."""
    out: Agreed = field(default_factory=Agreed)
    """What went out here against what had come in over SSH."""
    back: Agreed = field(default_factory=Agreed)
    """What came in here against what went out over SSH."""
    over_ssh: int = 0
    """Bytes that went out over SSH since the connect."""
    received: deque[Seen] = field(default_factory=lambda: deque(maxlen=8))
    told: int = 0

    @property
    def proof(self) -> int:
        """0 nothing yet, 1 the far side was told that the connection stands, 2 bytes were relayed.

        Sizes agree by chance, too; so where no confirmation was seen most of all that passes must agree, both ways, in
        several sizes; right after something came in over SSH one and a large one will do.
        """
        if self.confirmed and (self.out.sizes or self.back.sizes):
            return 2
        if self.speaks or not self._agrees:
            return 1 if self.confirmed else 0
        return 2

    @property
    def _agrees(self) -> bool:
        out, back = self.out.weight, self.back.weight
        if self.through or self.conversation.serves:
            return min(out, back) >= 1
        if self.asked is not None and not self.below and max(self.out.largest, self.back.largest) >= _LARGE:
            return min(out, back) >= 1
        return min(out, back) >= _SIZES and self.out.mostly and self.back.mostly

    @property
    def display(self) -> bool:
        """It goes to where an X server would listen."""
        return self.connect.connect.flow.destination_port in X11


class Relays:
    """Connections that may be the near ends of forwards; bounded, the oldest are forgotten."""

    def __init__(self) -> None:
        self._locals: OrderedDict[int, Local] = OrderedDict()
        self._accepted: OrderedDict[ProcessKey, int] = OrderedDict()

    def accepted(self, process: ProcessKey, time_ns: int) -> None:
        """A peer's connection came in: what the process connects to right after it may serve that one."""
        self._accepted[process] = time_ns
        self._accepted.move_to_end(process)
        if len(self._accepted) > _MANY:
            self._accepted.popitem(last=False)

    def serving(self, process: ProcessKey, time_ns: int) -> bool:
        """Whether the process accepted a connection just before."""
        return time_ns - self._accepted.get(process, -_SOON_NS - 1) <= _SOON_NS

    def connect(
        self,
        event: event_pb2.Event,
        process: ProcessKey,
        conversation: Conversation,
        *,
        through: bool = False,
        below: bool = False,
    ) -> None:
        """A process called connect(): the holder of the conversation's socket, or one that uses it `through` a proxy,
        or a child `below` the holder."""
        cookie, now = event.connect.flow.cookie, event.time_ns
        if cookie in self._locals or cookie == conversation.cookie or self.serving(process, now):
            return
        least = conversation.shape.least
        if not least and not conversation.serves:
            # it is not authenticated yet, and opens no channels
            return
        enough = least + OPEN_ABOVE_LEAST if least else _OPEN_AT_LEAST
        asked = next((seen for seen in reversed(conversation.received) if seen.length >= enough), None)
        if asked is not None and now - asked.time_ns > _SOON_NS:
            asked = None
        early = asked is not None and 0 <= now - conversation.opened_ns <= _SOON_NS
        since_ns = conversation.opened_ns if early else now
        local = Local(conversation, asked, event, through, below, since_ns)
        self._locals[cookie] = local
        while len(self._locals) > _MANY:
            self._locals.popitem(last=False)

    def established(self, cookie: int) -> None:
        """A connection that the agent opened stands."""
        local = self._locals.get(cookie)
        if local is not None:
            local.established = True

    def packet(self, event: event_pb2.Event, conversation: Conversation | None) -> Iterator[Local]:
        """One packet of any flow; yields the connections of which it proves more than was known."""
        packet = event.packet
        seen = Seen(event.time_ns, packet.length)
        touched: list[Local] = []
        if conversation is not None and packet.outbound:
            touched = [local for local in self._locals.values() if local.conversation is conversation]
            for local in touched:
                self._over_ssh(local, seen)
        # a near end may speak SSH as well: then both are true of this packet
        near = self._locals.get(packet.flow.cookie)
        if near is not None:
            near.speaks = conversation is not None and conversation.banner == near.conversation.banner
            self._here(near, seen, packet.outbound)
            touched.append(near)
        for local in touched:
            if local.proof > local.told:
                local.told = local.proof
                yield local

    def close(self, cookie: int) -> None:
        """A flow ended: the near end of a forward, or the SSH connection with all of its near ends."""
        self._locals.pop(cookie, None)
        for key in [key for key, local in self._locals.items() if local.conversation.cookie == cookie]:
            del self._locals[key]

    @staticmethod
    def _over_ssh(local: Local, seen: Seen) -> None:
        conversation = local.conversation
        least = conversation.shape.least
        local.over_ssh += seen.length
        if (
            least
            and local.established
            and local.asked is not None
            and not local.below
            and not local.out.bytes
            and seen.length == least + CONFIRMATION_ABOVE_LEAST
            and seen == conversation.first_answer
            and seen.time_ns - local.connect.time_ns <= _PASSED_NS
        ):
            local.confirmed = True
        for got in list(local.received):
            if seen.time_ns - got.time_ns > _PASSED_NS:
                local.received.remove(got)
            elif _carries(local, seen.length, got.length):
                local.received.remove(got)
                local.back.add(got.length)
        volume = local.back.bytes
        if local.through and _VOLUME <= volume <= local.over_ssh <= volume * 5 // 4 + _VOLUME:
            local.back.add(volume)

    @staticmethod
    def _here(local: Local, seen: Seen, outbound: bool) -> None:
        side = local.out if outbound else local.back
        side.packets += 1
        side.bytes += seen.length
        if not outbound:
            local.received.append(seen)
            return
        # data comes after the channel was opened; what came before that is an answer to something else
        for got in list(local.conversation.received)[-_NEWEST:]:
            late = seen.time_ns - got.time_ns
            if got.time_ns >= local.since_ns and late <= _PASSED_NS and _carries(local, got.length, seen.length):
                side.add(seen.length)
                break


def _carries(local: Local, wire: int, data: int) -> bool:
    """Whether a packet of `wire` bytes is exactly `data` bytes (or a whole channel packet of more) in CHANNEL_DATA,
    through a proxy also in CHANNEL_DATA of an SSH connection inside."""
    modes = local.conversation.modes
    if not modes and local.conversation.serves:
        modes = MODES
    sizes = [data, *(most for most in _CHANNEL_PACKETS if most < data)]
    if any(mode.size(_DATA_HEADER + size) == wire for mode in modes for size in sizes):
        return True
    if not local.through:
        return False
    inside = {mode.size(_DATA_HEADER + size) for mode in MODES for size in sizes}
    return any(mode.size(_DATA_HEADER + size) == wire for mode in modes for size in inside)
