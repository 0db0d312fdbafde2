"""What can go wrong in the sensor, as one tree. This is its bottom: each part adds its own branches below.

    SensorError
    ├── UndecodableRecord     a record that does not have the shape the ABI gives it
    ├── SpoolError
    │   ├── SpoolFull         the disk has no room: nothing was accepted, the ring keeps the data
    │   └── SpoolLocked       another sensor of this instance has the spool
    └── ProcessVanished       it ended while it was being read

Every message says what was wrong and, where a person can do something, what to do.
"""

from __future__ import annotations

from typing import ClassVar


class SensorError(Exception):
    """Base of all; `reason` is a name of ErrorReason (error.proto) without its prefix, as the local socket and commands send it."""

    reason: ClassVar[str] = "INTERNAL"


class UndecodableRecord(SensorError):
    """A ring record is too short, has lengths that do not agree, or is of an unknown kind.

    `agent` and `event_class` are the numbers of the record's header, 0 where the header itself could not be trusted: the loss
    is counted for them.
    """

    def __init__(self, message: str, agent: int = 0, event_class: int = 0) -> None:
        super().__init__(message)
        self.agent = agent
        self.event_class = event_class


class SpoolError(SensorError):
    """The spool on disk could not be used."""


class SpoolFull(SpoolError):
    """The disk is full or failing; nothing of the batch was accepted, so that it may be offered again."""


class SpoolLocked(SpoolError):
    """Another process has this spool open."""


class ProcessVanished(SensorError):
    """A process ended, or its pid was reused, while its facts were read."""

    reason = "PROCESS_NOT_FOUND"
