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
    """Base of all; `reason` is a name of ErrorReason (error.proto) without its prefix: what a refused caller is
    told."""

    reason: ClassVar[str] = "INTERNAL"


class UndecodableRecord(SensorError):
    """A ring record is too short, has lengths that do not agree, or is of an unknown kind.

    `agent` and `event_class` are the numbers of the record's header, 0 where the header itself could not be trusted:
    the loss is counted for them.
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


class Refused(SensorError):
    """A request that is not done, for a reason that the caller can act on."""


class PermissionRefused(Refused):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class CallerIsAgent(Refused):
    """The caller is itself an enrolled agent's process."""

    reason = "CALLER_IS_AGENT"


class AgentNotFound(Refused):
    """No living agent has this id or name."""

    reason = "AGENT_NOT_FOUND"


class AgentNameTaken(Refused):
    """A living agent has this name."""

    reason = "AGENT_NAME_TAKEN"


class ProcessNotFound(Refused):
    """No such process, or its pid was reused."""

    reason = "PROCESS_NOT_FOUND"


class AlreadyEnrolled(Refused):
    """The process or cgroup belongs to another agent: the first owner stays."""

    reason = "ALREADY_ENROLLED"


class CgroupNotFound(Refused):
    """No such cgroup on the default (v2) hierarchy, or no such hierarchy."""

    reason = "CGROUP_NOT_FOUND"


class InvalidArgument(Refused):
    """A field has a value that cannot be."""

    reason = "INVALID_ARGUMENT"


class TargetProtected(Refused):
    """The target holds what must not be killed or enrolled by mistake."""

    reason = "TARGET_PROTECTED"


class Busy(Refused):
    """Too many callers, or one that does not read its answers."""

    reason = "DEADLINE"


class StartFailed(SensorError):
    """The sensor cannot start on this host as it is set up."""


class AnotherSensor(StartFailed):
    """A sensor of this instance is running."""
