"""Batches to ship."""

from __future__ import annotations

import itertools
from pathlib import Path

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.ship.spool import Spool

AGENT = "abcdef012345"
_numbers = itertools.count(1)


def stamp(event: event_pb2.Event) -> None:
    """As the collector's identity does."""
    event.record.epoch, event.record.cpu, event.record.sequence = 1, 0xFFFFFFFF, next(_numbers)
    event.time_ns = 1


def batch(first: int = 1, count: int = 1, agent: str = AGENT, padding: int = 0) -> sensor_service_pb2.Batch:
    """Payloads, numbered from `first`, each with some padding."""
    made = sensor_service_pb2.Batch(clock_offset_ns=42)
    for number in range(first, first + count):
        event = made.events.add(agent_id=agent, time_ns=number)
        event.record.epoch, event.record.cpu, event.record.sequence = 99, 0, number
        event.payload.data = b"x" * padding
    return made


def held(spool: Spool, after: int = 0) -> list[sensor_service_pb2.Batch]:
    """Everything that waits."""
    reader = spool.reader(after)
    found = []
    while (item := reader.next()) is not None:
        found.append(sensor_service_pb2.Batch.FromString(item[1]))
        assert found[-1].sequence == item[0]
    reader.close()
    return found


def numbers(spool: Spool) -> list[int]:
    """Record numbers of the kernel events that wait, in order."""
    return [e.record.sequence for b in held(spool) for e in b.events if e.record.epoch == 99]


def lost(spool: Spool) -> int:
    """What the loss events that wait add up to."""
    return sum(e.loss.count for b in held(spool) for e in b.events if e.HasField("loss"))


def segments(folder: Path) -> list[Path]:
    """Segment files, oldest first."""
    return sorted(folder.glob("*.segment"))
