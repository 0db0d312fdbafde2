"""What was read from the ring and is not durable yet: decoded, in batches, with the sensor's own events in their places."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

import structlog

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.collect.cgroup_path import CgroupPaths
from sensor.collect.clock import boottime_ns, clock_offset_ns
from sensor.collect.decode import DECODERS, decode_into
from sensor.collect.loss import LossLedger
from sensor.collect.outbox import Outbox
from sensor.collect.pace import Pace
from sensor.collect.programs import Programs
from sensor.errors import UndecodableRecord
from sensor.kernel.enums import EventKind

BATCH_RECORDS = 1000
BATCH_BYTES = 1 << 20
"""A batch is closed above this, so that it stays far below gRPC's message limit of 4 MB."""
LOT_BATCHES = 8
LOT_BYTES = 2 << 20
"""So much is made durable with one sync: at 50 000 records a second a sync for every thousand would have to take less than
20 ms, on a disk that others use too."""
_HOLD_NS = 1_000_000_000
_END_OF_TIME = 1 << 63
_TIME = struct.Struct("<Q")
_TIME_AT = 24
_UNDECODABLE = event_pb2.LOSS_REASON_UNDECODABLE
_log = structlog.get_logger(part="collector")


Subscriber = Callable[[event_pb2.Event], None]


class Lot:
    """For the collector's loop."""

    def __init__(self, outbox: Outbox, loss: LossLedger, pace: Pace) -> None:
        self._outbox = outbox
        self._loss = loss
        self._pace = pace
        self._cgroups = CgroupPaths()
        self._programs = Programs()
        self._subscribers: dict[int, list[Subscriber]] = {kind: [] for kind in DECODERS}
        self._undecodable = 0
        self._say_due = 0
        self._bytes = 0
        self._batch_bytes = 0
        self.batches: list[sensor_service_pb2.Batch] = []

    def __bool__(self) -> bool:
        """True while something waits."""
        return bool(self.batches)

    @property
    def full(self) -> bool:
        """It is to be made durable before more is read."""
        return len(self.batches) >= LOT_BATCHES or self._bytes >= LOT_BYTES

    def subscribe(self, callback: Subscriber, kinds: Iterable[int]) -> None:
        """As Collector.subscribe."""
        for kind in kinds or self._subscribers:
            self._subscribers[kind].append(callback)

    def add(self, records: list[bytes], drained: bool) -> None:
        """Take records in, and the sensor's own events that are not younger; all of these where nothing more is in the ring."""
        subscribers = self._subscribers
        for record in records:
            batch = self._open()
            if self._outbox and len(record) > _TIME_AT + 8:
                self._take(batch, _TIME.unpack_from(record, _TIME_AT)[0])
            self._bytes += len(record)
            self._batch_bytes += len(record)
            event = batch.events.add()
            try:
                decode_into(record, event)
            except UndecodableRecord as error:
                del batch.events[-1]
                self._loss.count(error.agent, error.event_class, _UNDECODABLE)
                self._say_undecodable(error)
                continue
            kind = record[0] | record[1] << 8
            self._pace.add(kind, new=kind == EventKind.EXEC and self._programs.is_new(event))
            if event.HasField("join"):
                event.join.cgroup_path = self._cgroups.path(event.join.cgroup_id)
            for callback in subscribers[kind]:
                self._tell(callback, event)
        if self._outbox:
            # With more records in the ring, an event that is younger than all we have read waits for its place.
            self._take(self._open(), _END_OF_TIME if drained else boottime_ns() - _HOLD_NS)
        if self.batches and not self.batches[-1].events:
            self.batches.pop()

    def tell_losses(self, events: list[event_pb2.Event]) -> None:
        """Put these at the end."""
        if not self.batches:
            self._fresh()
        self.batches[-1].events.extend(events)

    def clear(self) -> list[sensor_service_pb2.Batch]:
        """It is durable: hand out what it had, and begin the next one."""
        done, self.batches, self._bytes = self.batches, [], 0
        return done

    def close(self) -> None:
        """Let go of what finding cgroups' paths has open."""
        self._cgroups.close()

    def _open(self) -> sensor_service_pb2.Batch:
        if self.batches and self._batch_bytes <= BATCH_BYTES and len(self.batches[-1].events) < BATCH_RECORDS:
            return self.batches[-1]
        return self._fresh()

    def _fresh(self) -> sensor_service_pb2.Batch:
        self.batches.append(sensor_service_pb2.Batch(clock_offset_ns=clock_offset_ns()))
        self._batch_bytes = 0
        return self.batches[-1]

    def _take(self, batch: sensor_service_pb2.Batch, until_ns: int) -> None:
        if self._outbox.take(batch, until_ns):
            self._pace.hurry()

    def _say_undecodable(self, error: UndecodableRecord) -> None:
        """Once a second at most: the losses carry the exact count."""
        self._undecodable += 1
        if boottime_ns() >= self._say_due:
            _log.error(
                "record_undecodable",
                agent=f"{error.agent:012x}",
                error=str(error),
                so_far=self._undecodable,
                action="report this as a defect: hooks and sensor do not agree on a record's shape",
            )
            self._say_due = boottime_ns() + 1_000_000_000

    def _tell(self, callback: Subscriber, event: event_pb2.Event) -> None:
        try:
            callback(event)
        except Exception as error:  # noqa: BLE001  # a defect in one listener must not stop collection
            _log.error("subscriber_failed", agent=event.agent_id, error=repr(error), exc_info=True)
