"""What the collector needs of its neighbours: the kernel below, and a place where batches become durable beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rubicon.v1 import sensor_service_pb2
from sensor.collect.loss import Account


class Ring(Protocol):
    """sensor.kernel's ring."""

    @property
    def fd(self) -> int:
        """Readable while there are records that were not committed."""

    def read(self, limit: int = 4096) -> list[bytes]:
        """Records after the cursor."""

    def commit(self) -> None:
        """Everything read so far may be overwritten."""


class Losses(Protocol):
    """sensor.kernel's loss counters."""

    def read(self) -> dict[Account, int]:
        """Cumulative, per account."""


class Kernel(Protocol):
    """sensor.kernel's Kernel, as far as the collector goes."""

    @property
    def epoch(self) -> int:
        """Map epoch."""

    @property
    def ring(self) -> Ring:
        """The ring."""

    @property
    def losses(self) -> Losses:
        """Loss counters."""


class Sink(Protocol):
    """The spool."""

    @property
    def ledger(self) -> bytes:
        """Last ledger that was appended."""

    def append_all(self, batches: Sequence[sensor_service_pb2.Batch], ledger: bytes = b"") -> int:
        """Durable on return; SpoolFull when nothing was accepted."""
