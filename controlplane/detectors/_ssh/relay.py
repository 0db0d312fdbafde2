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
from controlplane.detectors._ssh.wire import MODES, Mode
from controlplane.model.keys import ProcessKey
from rubicon.v1 import event_pb2

_OPEN_AT_LEAST = 60
_SOON_NS = 250_000_000
_MANY = 256
_DATA_HEADER = 9
_SIZES = 4
"""Different sizes that are counted."""
_TELLING, _LARGE = 4, 512
"""Bytes. Fewer are within the size of a channel's own messages; as many agree with nothing by chance."""
_VOLUME = 2048
"""Through a proxy packets are cut anew: from so many bytes on, volumes are compared as well."""
_CHANNEL_PACKETS = (32768, 32704, 16384)
"""Most bytes of one channel packet: OpenSSH, PuTTY and asyncssh; paramiko; dropbear."""
X11 = range(6000, 6064)


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
    came_out: set[int] = field(default_factory=set)
    """Sizes of data that came in over SSH and went out here."""
    went_in: set[int] = field(default_factory=set)
    """Sizes of data that came in here and went out over SSH."""
    sent: int = 0
    taken: int = 0
    """Bytes that came in here."""
    out: int = 0
    """Bytes that went out over SSH since the connect."""
    received: deque[Seen] = field(default_factory=lambda: deque(maxlen=8))
    told: int = 0

    @property
    def proof(self) -> int:
        """0 nothing yet, 1 the far side was told that the connection stands, 2 bytes were relayed.

        A size can agree by chance, a large one hardly; so where nothing else was seen more of them must.
        """
        out, back = _weight(self.came_out), _weight(self.went_in)
        if self.confirmed and (out or back):
            return 2
        if self.through or self.conversation.serves:
            relayed = min(out, back) >= 1
        elif self.asked is not None and not self.below:
            relayed = min(out, back) >= 1 and out + back >= 3
        else:
            relayed = min(out, back) >= 2
        if relayed:
            return 2
        return 1 if self.confirmed else 0

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
        local.out += seen.length
        if (
            least
            and local.established
            and local.asked is not None
            and not local.below
            and not local.sent
            and seen.length == least + CONFIRMATION_ABOVE_LEAST
            and seen == conversation.first_answer
            and seen.time_ns - local.connect.time_ns <= _SOON_NS
        ):
            local.confirmed = True
        for got in local.received:
            if 0 <= seen.time_ns - got.time_ns <= _SOON_NS and _carries(local, seen.length, got.length):
                _add(local.went_in, got.length)
        if local.through and _VOLUME <= local.taken <= local.out <= local.taken * 5 // 4 + _VOLUME:
            _add(local.went_in, local.taken)

    @staticmethod
    def _here(local: Local, seen: Seen, outbound: bool) -> None:
        if not outbound:
            local.received.append(seen)
            local.taken += seen.length
            return
        local.sent += seen.length
        for got in local.conversation.received:
            # data comes after the channel was opened; what came before that is an answer to something else
            if local.since_ns <= got.time_ns <= seen.time_ns <= got.time_ns + _SOON_NS and _carries(
                local, got.length, seen.length
            ):
                _add(local.came_out, seen.length)


def _add(sizes: set[int], size: int) -> None:
    if len(sizes) < _SIZES and size >= _TELLING:
        sizes.add(size)


def _weight(sizes: set[int]) -> int:
    return sum(2 if size >= _LARGE else 1 for size in sizes)


def _carries(local: Local, wire: int, data: int) -> bool:
    """Whether a packet of `wire` bytes is exactly `data` bytes (or a whole channel packet of more) in CHANNEL_DATA,
    through a proxy also in CHANNEL_DATA of an SSH connection inside."""
    modes: tuple[Mode, ...] = local.conversation.modes or MODES
    sizes = [data, *(most for most in _CHANNEL_PACKETS if most < data)]
    if any(mode.size(_DATA_HEADER + size) == wire for mode in modes for size in sizes):
        return True
    if not local.through:
        return False
    inside = {mode.size(_DATA_HEADER + size) for mode in MODES for size in sizes}
    return any(mode.size(_DATA_HEADER + size) == wire for mode in modes for size in inside)
