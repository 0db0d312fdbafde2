"""Numbers and names in a batch that no kernel makes and no column holds: refused before anything of it is taken.

A record that is well-formed and false would otherwise meet the database, which knows no number above 2^63, after it
has changed what the plane has in memory, and its batch would come again for ever. The sensor sets a refused batch aside
and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter, gt
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
_EVERY = {
    "time_ns": _FAR,
    "process.pid": _PID_MAX,
    "process.start_time_ns": _FAR,
    "record.epoch": _FAR,
    "record.sequence": _FAR,
}
"""The same of every event, by path."""


def _paths(kind: Descriptor, above: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    for field in kind.fields:
        if field.is_repeated:
            continue
        path = above + field.name
        if field.message_type and depth < 3:
            yield from _paths(field.message_type, path + ".", depth + 1)
        elif limit := _LIMITS.get(f"{kind.name}.{field.name}"):
            yield path, limit


_Check = tuple[Callable[[Any], tuple[Any, ...]], tuple[int, ...], tuple[str, ...]]


def _check(found: dict[str, int]) -> _Check:
    return attrgetter(*found), tuple(found.values()), tuple(found)


def _checks() -> Iterator[tuple[str | None, _Check]]:
    """By kind: all the values of an event in one call, for this is done for each of 50 000 a second."""
    for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields:
        assert field.message_type
        yield field.name, _check(_EVERY | dict(_paths(field.message_type, f"{field.name}.")))
    yield None, _check(_EVERY)


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
    agents = {""}
    for event in batch:
        agent = event.agent_id
        if agent not in agents:
            if not ids.AGENT_ID.fullmatch(agent):
                raise _refusal("agent_id", agent[:40])
            agents.add(agent)
        kind = event.WhichOneof("kind")
        getter, limits, names = _CHECKS[kind]
        values = getter(event)
        if True in map(gt, values, limits):
            raise _refusal(*next((n, v) for n, v, most in zip(names, values, limits, strict=True) if v > most))
        if kind == "enrol" and (len(event.enrol.name) > _NAME or not event.enrol.name.isprintable()):
            raise _refusal("enrol.name", event.enrol.name[:40])


def _refusal(name: str, value: object) -> InvalidArgument:
    return InvalidArgument(f"{name} cannot be {value!r}", "the sensor sets this batch aside; report it with its log")
