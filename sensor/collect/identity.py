"""Record identity of what the sensor itself makes: CPU 0xFFFFFFFF, epoch = the sensor's start, sequence from 1."""

from __future__ import annotations

import itertools

from rubicon.v1 import event_pb2, ids
from sensor.collect.clock import boottime_ns


class SensorRecords:
    """Stamps events. Every start is an epoch of its own, so a restarted sensor never repeats an identity. Any
    thread."""

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = boottime_ns() if epoch is None else epoch
        self._sequence = itertools.count(1)

    def stamp(self, event: event_pb2.Event) -> None:
        """Set the record id, and the time to now where it has none."""
        event.record.epoch = self.epoch
        event.record.cpu = ids.SENSOR_CPU
        event.record.sequence = next(self._sequence)
        if not event.time_ns:
            event.time_ns = boottime_ns()
