"""Events that the sensor makes itself, on their way into a batch: in order of time, bounded, and with word when they
are durable."""

from __future__ import annotations

import asyncio
import bisect
import threading
from collections.abc import Iterable

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.collect.identity import SensorRecords
from sensor.errors import SensorError

EMIT_LIMIT = 10_000
"""Events that wait while the disk is full; what is beyond is counted as lost."""
EVENT_BYTES = 512 << 10
"""A larger event would not fit into a batch that a gRPC server takes."""


class Outbox:
    """`put` may be called from any thread, everything else from the loop's."""

    def __init__(self, records: SensorRecords) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._pending: list[event_pb2.Event] = []
        self._outstanding: set[int] = set()
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        """True while something waits."""
        return bool(self._pending)

    def put(self, event: event_pb2.Event) -> bool:
        """Give it its record id, and the present time where it has none; False when there is no room.

        Raises:
            SensorError: it is larger than any reader could take.
        """
        if event.ByteSize() > EVENT_BYTES:
            raise SensorError(f"event of {event.ByteSize()} bytes: shorten what it carries (limit {EVENT_BYTES})")
        with self._lock:
            if len(self._pending) >= EMIT_LIMIT:
                return False
            self._records.stamp(event)
            self._outstanding.add(event.record.sequence)
            bisect.insort(self._pending, event, key=_time_of)
        return True

    def take(self, batch: sensor_service_pb2.Batch, until_ns: int) -> int:
        """Move what is not younger than `until_ns` into a batch; returns how many that were."""
        with self._lock:
            due = bisect.bisect_right(self._pending, until_ns, key=_time_of)
            batch.events.extend(self._pending[:due])
            del self._pending[:due]
        return due

    def discard(self) -> None:
        """Give up on what waits."""
        with self._lock:
            self._pending.clear()

    async def flush(self) -> None:
        """Return when everything that was put so far is durable."""
        with self._lock:
            if not self._outstanding:
                return
            mark = max(self._outstanding)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append((mark, done))
        await done

    def settle(self, batches: Iterable[sensor_service_pb2.Batch]) -> None:
        """These batches are durable: tell who waits."""
        if not self._outstanding:
            return
        ours = self._records.epoch
        done = {e.record.sequence for batch in batches for e in batch.events if e.record.epoch == ours}
        with self._lock:
            self._outstanding -= done
            oldest = min(self._outstanding, default=1 << 63)
        for mark, waiter in self._flushes:
            if mark < oldest and not waiter.done():
                waiter.set_result(None)
        self._flushes = [(mark, waiter) for mark, waiter in self._flushes if not waiter.done()]

    def close(self) -> None:
        """Nothing becomes durable any more."""
        for _, waiter in self._flushes:
            waiter.cancel()


def _time_of(event: event_pb2.Event) -> int:
    return event.time_ns
