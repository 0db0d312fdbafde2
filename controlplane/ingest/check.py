"""Numbers and names in a batch that no kernel makes and no column holds: refused before anything of it is taken.

A record that is well-formed and false would otherwise meet the database, which knows no number above 2^63, after it
has changed what the plane has in memory, and its batch would come again for ever. The sensor sets a refused batch aside
and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor

from controlplane.errors import InvalidArgument
from rubicon.v1 import event_pb2, ids

_FAR = 2**62
"""Nanoseconds: 146 years. A time and the offset that makes a wall clock of it add up to below 2^63."""
_PID_MAX = 1 << 22
"""PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h)."""
_NAME = 128
_SUM = 2**53
_LIMITS = {
    "ProcessKey.pid": _PID_MAX,
    "ProcessKey.start_time_ns": _FAR,
    "Flow.cookie": 2**63 - 1,
    "Flow.source_port": 0xFFFF,
    "Flow.destination_port": 0xFFFF,
    "Close.bytes_sent": _SUM,
    "Close.bytes_received": _SUM,
    "Payload.offset": _SUM,
    "Packet.offset": _SUM,
    "Loss.count": _SUM,
}
"""Largest value of each field that becomes a column or is summed up, wherever it stands in an event."""


def _paths(kind: Descriptor, above: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    for field in kind.fields:
        if field.is_repeated:
            continue
        path = above + field.name
        if field.message_type and depth < 3:
            yield from _paths(field.message_type, path + ".", depth + 1)
        elif limit := _LIMITS.get(f"{kind.name}.{field.name}"):
            yield path, limit


def _checks() -> Iterator[tuple[str, tuple[Callable[[Any], Any], tuple[int, ...], tuple[str, ...]]]]:
    for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields:
        assert field.message_type
        found = list(_paths(field.message_type))
        if found:
            names, limits = zip(*found, strict=True)
            yield field.name, (attrgetter(*names), limits, names)


_CHECKS = dict(_checks())


def offset(nanoseconds: int) -> int:
    """A clock offset that can be.

    Raises:
        InvalidArgument: it is off by more than a century.
    """
    if abs(nanoseconds) > _FAR:
        raise InvalidArgument(
            f"clock offset {nanoseconds} ns cannot be", "set the host's clock, and restart its sensor"
        )
    return nanoseconds


def events(batch: Iterable[event_pb2.Event]) -> None:
    """Every event of a batch.

    Raises:
        InvalidArgument: one has a value that cannot be; the message names it.
    """
    for event in batch:
        if event.agent_id and not ids.AGENT_ID.fullmatch(event.agent_id):
            raise _refusal(event, "agent_id", event.agent_id[:40])
        if event.time_ns > _FAR:
            raise _refusal(event, "time_ns", event.time_ns)
        process, record = event.process, event.record
        if process.pid > _PID_MAX or process.start_time_ns > _FAR:
            raise _refusal(event, "process", f"{process.pid} started {process.start_time_ns}")
        if record.epoch > _FAR or record.sequence > _FAR:
            raise _refusal(event, "record", f"{record.epoch}/{record.sequence}")
        kind = event.WhichOneof("kind")
        if kind and kind in _CHECKS:
            getter, limits, names = _CHECKS[kind]
            values = getter(getattr(event, kind))
            for value, limit, name in zip(values if len(names) > 1 else (values,), limits, names, strict=True):
                if value > limit:
                    raise _refusal(event, name, value)
        if kind == "enrol" and (len(event.enrol.name) > _NAME or not event.enrol.name.isprintable()):
            raise _refusal(event, "name", event.enrol.name[:40])


def _refusal(event: event_pb2.Event, name: str, value: object) -> InvalidArgument:
    kind = event.WhichOneof("kind") or "event"
    return InvalidArgument(
        f"{kind}.{name} cannot be {value!r}", "the sensor sets this batch aside; report it with its log"
    )
