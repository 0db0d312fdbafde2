"""A forward in use: what comes in over SSH makes the same process connect somewhere, and bytes then pass between the
two.

The order of OpenSSH, dropbear, PuTTY and asyncssh: CHANNEL_OPEN comes in, connect(), CHANNEL_OPEN_CONFIRMATION
(exactly m + 16 bytes, RFC 4254 5.1) goes out before anything is sent on the new connection. paramiko confirms first
and then connects. `-L`, `-D` and `-W` connect nowhere on this side; they accept. Agent and X11 forwarding look the
same and go to a Unix socket or to ports 6000 to 6063.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.detectors._ssh.conversation import Conversation, Seen
from controlplane.detectors._ssh.wire import MODES, Mode
from controlplane.model.keys import ProcessKey
from rubicon.v1 import event_pb2

CONFIRMATION_ABOVE_LEAST = 16
OPEN_ABOVE_LEAST = 40
_OPEN_AT_LEAST = 60
_SOON_NS = 250_000_000
_MANY = 256
_DATA_HEADER = 9
_VOLUME = 2048
"""Through a proxy packets are cut anew: from so many bytes on, volumes are compared as well."""
_CHANNEL_PACKETS = (32768, 32704, 16384)
"""Most bytes of one channel packet: OpenSSH, PuTTY and asyncssh; paramiko; dropbear."""
X11 = range(6000, 6064)


@dataclass(slots=True, eq=False)
class Local:
    """A connection that a holder of an SSH connection opened on what came in over it."""

    conversation: Conversation
    asked: Seen
    connect: event_pb2.Event
    through: bool = False
    """The one that connected uses the conversation through a proxy, which may be SSH once more (`ssh -W`)."""
    established: bool = False
    confirmed: bool = False
    came_out: bool = False
    """A packet that came in over SSH went out here, in exactly its size."""
    went_in: bool = False
    """A packet that came in here went out over SSH, in exactly its size."""
    sent: int = 0
    taken: int = 0
    """Bytes that came in here."""
    out: int = 0
    """Bytes that went out over SSH since the connect."""
    received: deque[Seen] = field(default_factory=lambda: deque(maxlen=8))
    told: int = 0

    @property
    def proof(self) -> int:
        """0 nothing yet, 1 the far side was told that the connection stands, 2 bytes were relayed."""
        if (self.confirmed and (self.came_out or self.went_in)) or (self.came_out and self.went_in):
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
        self, event: event_pb2.Event, process: ProcessKey, conversation: Conversation, *, through: bool = False
    ) -> None:
        """A holder of the conversation's socket, or one that uses it through a proxy, called connect()."""
        cookie, now = event.connect.flow.cookie, event.time_ns
        if cookie == conversation.cookie or self.serving(process, now):
            return
        least = conversation.shape.least
        enough = least + OPEN_ABOVE_LEAST if least else _OPEN_AT_LEAST
        asked = next((seen for seen in reversed(conversation.received) if seen.length >= enough), None)
        if asked is None or now - asked.time_ns > _SOON_NS:
            return
        local = Local(conversation, asked, event, through)
        if cookie in self._locals and self._locals[cookie].conversation is not conversation:
            return
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
            and not local.sent
            and seen.length == least + CONFIRMATION_ABOVE_LEAST
            and seen == conversation.first_answer
            and seen.time_ns - local.connect.time_ns <= _SOON_NS
        ):
            local.confirmed = True
        if any(
            0 <= seen.time_ns - got.time_ns <= _SOON_NS and _carries(local, seen.length, got.length)
            for got in local.received
        ) or (local.through and _VOLUME <= local.taken <= local.out <= local.taken * 5 // 4 + _VOLUME):
            local.went_in = True

    @staticmethod
    def _here(local: Local, seen: Seen, outbound: bool) -> None:
        if not outbound:
            local.received.append(seen)
            local.taken += seen.length
            return
        local.sent += seen.length
        if any(
            0 <= seen.time_ns - got.time_ns <= _SOON_NS and _carries(local, got.length, seen.length)
            for got in local.conversation.received
        ):
            local.came_out = True


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
