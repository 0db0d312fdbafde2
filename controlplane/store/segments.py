"""How raw events are kept: a segment is a run of positions, compressed with zstd.

Every stored event has a position, one number for the whole plane that rises by one an event; a cursor is a position. A
segment holds the events from `first_position` on, as parts, one for each batch that came in:

    part  =  <boot: u32> <events: u32> <bytes: u32> <clock offset, ns: i64>  then a Batch message without its numbers
             (its field `events` is exactly a run of length-delimited Event messages)
    data  =  zstd(part part part …)

So compacting is joining the decompressed bytes of neighbours, and reading skips parts without parsing them. Segments
live in the database as blobs and not in files of their own, because events, entities and what was seen then commit in
one transaction with one fsync: an acknowledgement can never be half true.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import zstandard

from rubicon.v1 import event_pb2, sensor_service_pb2

_PART = struct.Struct("<IIIq")
KINDS: dict[str, int] = {f.name: f.number for f in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields}
"""Kind of event by name → its field number, which is its bit in a segment's bitmap."""
FAST, SMALL = 1, 6
"""zstd levels: at commit, and when compacting."""


@dataclass(frozen=True, slots=True)
class Part:
    """Events of one batch: boot number, clock offset in ns, the events in ring order."""

    boot: int
    clock_offset_ns: int
    events: Sequence[event_pb2.Event]


@dataclass(slots=True)
class Index:
    """What a segment contains: times in wall-clock ns, bitmap of kinds, (agent, boot) pairs."""

    events: int = 0
    first_time_ns: int = 2**63 - 1
    last_time_ns: int = 0
    kinds: int = 0
    agents: set[tuple[str, int]] = field(default_factory=set)

    def add(self, part: Part) -> None:
        """Take the events of one part in."""
        if not part.events:
            return
        agents, times, kinds = set(), [], set()
        for event in part.events:
            agents.add(event.agent_id)
            times.append(event.time_ns)
            kinds.add(event.WhichOneof("kind"))
        for kind in kinds:
            self.kinds |= 1 << KINDS.get(kind or "", 0)
        self.agents |= {(agent, part.boot) for agent in agents}
        self.first_time_ns = min(self.first_time_ns, min(times) + part.clock_offset_ns)
        self.last_time_ns = max(self.last_time_ns, max(times) + part.clock_offset_ns)
        self.events += len(part.events)


def encode(parts: Iterable[Part]) -> bytes:
    """A segment's data, not compressed."""
    out = bytearray()
    for part in parts:
        body = _batch(part.events)
        out += _PART.pack(part.boot, len(part.events), len(body), part.clock_offset_ns)
        out += body
    return bytes(out)


def _batch(events: Iterable[event_pb2.Event]) -> bytes:
    """A serialised Batch of these events alone; to make the message first would copy each of them."""
    fields: list[bytes] = []
    for event in events:
        data = event.SerializeToString()
        fields += (_EVENT_TAG, _VARINTS[len(data)] if len(data) < len(_VARINTS) else _varint(len(data)), data)
    return b"".join(fields)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_EVENT_TAG = bytes([sensor_service_pb2.Batch.DESCRIPTOR.fields_by_name["events"].number << 3 | 2])  # length-delimited
_VARINTS = [_varint(number) for number in range(1024)]


def compress(data: bytes, level: int = FAST) -> bytes:
    """zstd with a content checksum, so that a damaged blob is noticed."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def decompress(data: bytes) -> bytes:
    """The inverse.

    Raises:
        ValueError: the blob is damaged.
    """
    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(f"damaged segment: {error}") from error


def decode(data: bytes, skip: int = 0) -> Iterator[tuple[int, Part]]:
    """The parts of decompressed data, each with the offset of its first event in the segment.

    Args:
        skip: leave parts out that end at or before this offset.
    """
    at = offset = 0
    view = memoryview(data)
    while at < len(data):
        boot, events, size, clock = _PART.unpack_from(data, at)
        at += _PART.size
        if offset + events > skip:
            batch = sensor_service_pb2.Batch.FromString(bytes(view[at : at + size]))
            yield offset, Part(boot, clock, batch.events)
        at += size
        offset += events


def kinds_mask(names: Iterable[str]) -> int:
    """Bitmap of these kinds; 0 for none given.

    Raises:
        KeyError: no such kind.
    """
    mask = 0
    for name in names:
        mask |= 1 << KINDS[name]
    return mask
