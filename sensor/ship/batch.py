"""A batch as the shipping side sees it: its bytes on the wire, and what is lost when it is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rubicon.v1 import event_pb2, sensor_service_pb2

_BATCH_TAG = b"\x12"  # ConnectRequest field 2 (batch), length-delimited
Lost = Counter[tuple[str, "event_pb2.EventClass.ValueType"]]
"""Records per agent id and class."""

_FLOW = event_pb2.EVENT_CLASS_FLOW
_BULK = event_pb2.EVENT_CLASS_BULK
_CLASSES: dict[str, event_pb2.EventClass.ValueType] = {
    "bind": _FLOW,
    "listen": _FLOW,
    "connect": _FLOW,
    "establish": _FLOW,
    "close": _FLOW,
    "unix_connect": _FLOW,
    "payload": event_pb2.EVENT_CLASS_PAYLOAD,
    "socket": _BULK,
    "send": _BULK,
    "packet": _BULK,
}
_KEPT = frozenset(("enrol", "finish", "tamper", "loss"))
"""Few, small, and nothing makes sense without them: they are carried over when their segment is dropped."""


def request_bytes(batch: bytes) -> bytes:
    """A serialised Batch as a serialised ConnectRequest, without parsing it again."""
    length = len(batch)
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"".join((_BATCH_TAG, varint, batch))


def class_of(event: event_pb2.Event) -> event_pb2.EventClass.ValueType:
    """The class that a loss of this event is counted in; what the sensor itself tells of processes counts as
    process."""
    return _CLASSES.get(event.WhichOneof("kind") or "", event_pb2.EVENT_CLASS_PROCESS)


def split_dropped(batches: Iterable[bytes]) -> tuple[Lost, list[event_pb2.Event]]:
    """What dropping these batches loses, per agent and class, and the events that must be carried over instead."""
    lost: Lost = Counter()
    kept: list[event_pb2.Event] = []
    for data in batches:
        for event in sensor_service_pb2.Batch.FromString(data).events:
            if event.WhichOneof("kind") in _KEPT:
                kept.append(event)
            else:
                lost[event.agent_id, class_of(event)] += 1
    return lost, kept


def loss_events(lost: Lost) -> list[event_pb2.Event]:
    """One loss event per agent and class; record ids and times are not set yet."""
    return [
        event_pb2.Event(
            agent_id=agent_id,
            loss=event_pb2.Loss(event_class=event_class, reason=event_pb2.LOSS_REASON_SPOOL_FULL, count=count),
        )
        for (agent_id, event_class), count in sorted(lost.items())
    ]


def clock_offset(batches: list[bytes]) -> int:
    """Clock offset of the newest of these batches, 0 when there is none."""
    return sensor_service_pb2.Batch.FromString(batches[-1]).clock_offset_ns if batches else 0
