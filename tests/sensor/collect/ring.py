"""A ring in memory that behaves as the kernel's: a cursor for reading, a commit for giving space back, a
level-triggered fd."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sensor.collect.loss import Account


class MemoryRing:
    """Records stay until they are committed; the descriptor is readable while any is there, also after it was read."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.records: list[bytes] = []
        self.cursor = 0
        self.committed = 0
        self.reads = 0

    def put(self, records: Iterable[bytes]) -> None:
        """As the hooks do."""
        self.records.extend(records)
        if self.records:
            os.eventfd_write(self.fd, 1)

    def read(self, limit: int = 4096) -> list[bytes]:
        """Records after the cursor."""
        self.reads += 1
        found = self.records[self.cursor : self.cursor + limit]
        self.cursor += len(found)
        return found

    def commit(self) -> None:
        """Give back what was read."""
        del self.records[: self.cursor]
        self.committed += self.cursor
        self.cursor = 0
        if not self.records:
            try:
                os.eventfd_read(self.fd)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)


class MemoryLosses:
    """Cumulative counters."""

    def __init__(self) -> None:
        self.counts: dict[Account, int] = {}

    def read(self) -> dict[Account, int]:
        """A copy, as the map read is."""
        return dict(self.counts)


class MemoryKernel:
    """What the collector asks of the kernel."""

    def __init__(self, epoch: int = 99) -> None:
        self.epoch = epoch
        self.ring = MemoryRing()
        self.losses = MemoryLosses()
