"""A batch as the shipping side sees it: its bytes on the wire, and what is lost when it is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rubicon.v1 import event_pb2, sensor_service_pb2

_BATCH_TAG = b"\x12"  # ConnectRequest field 2 (batch), length-delimited
Lost = Counter[tuple[str, "event_pb2.EventClass.ValueType", "event_pb2.LossReason.ValueType"]]
"""Records per agent id, class and reason."""

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
    "unix_send": _BULK,
    "packet": _BULK,
}
_KEPT = frozenset(("enrol", "finish", "tamper", "tag_pressure", "loss"))
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


def split_lost(
    batches: Iterable[bytes], reason: event_pb2.LossReason.ValueType, keep_bytes: int
) -> tuple[Lost, list[event_pb2.Event]]:
    """What is lost with these batches, and the events that must be carried over instead, at most `keep_bytes` of them.
    them.

    They are carried over with their own record ids: a plane that has them already drops them. Beyond the limit losses
    are added up, and the others are themselves lost."""
    lost: Lost = Counter()
    kept: list[event_pb2.Event] = []
    for data in batches:
        for event in sensor_service_pb2.Batch.FromString(data).events:
            if event.WhichOneof("kind") in _KEPT:
                kept.append(event)
            else:
                lost[event.agent_id, class_of(event), reason] += 1
    if sum(event.ByteSize() for event in kept) > keep_bytes:
        for event in kept:
            if event.HasField("loss"):
                lost[event.agent_id, event.loss.event_class, event.loss.reason] += event.loss.count
            else:
                lost[event.agent_id, class_of(event), reason] += 1
        kept = []
    return lost, kept


def loss_events(lost: Lost) -> list[event_pb2.Event]:
    """One loss event per agent, class and reason; record ids and times are not set yet."""
    return [
        event_pb2.Event(agent_id=agent, loss=event_pb2.Loss(event_class=event_class, reason=reason, count=count))
        for (agent, event_class, reason), count in sorted(lost.items())
    ]


def clock_offset(batches: list[bytes]) -> int:
    """Clock offset of the newest of these batches, 0 when there is none."""
    return sensor_service_pb2.Batch.FromString(batches[-1]).clock_offset_ns if batches else 0
