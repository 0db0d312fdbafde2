"""What can go wrong in the plane, as one tree.

    PlaneError
    ├── NotAuthenticated      no token, or not one of ours
    ├── TokenHasExpired       attest again
    ├── Refused               the caller may not do this
    │   └── CallerIsAgent     the caller is itself watched
    ├── AgentNotFound, AgentNameTaken, AgentEnded
    ├── ProcessNotFound, AlreadyEnrolled, CgroupNotFound
    ├── SensorUnreachable, HostMismatch, SensorDuplicate, CommandTimeout
    ├── InvalidArgument, CursorInvalid, NotFound, TargetProtected
    ├── SettingsInvalid       the settings file, at start
    ├── AuditKeyUnusable      the key that signs the audit, at start
    ├── StoreUnavailable      locked or full; nothing was acknowledged
    ├── TooSlow               a watcher did not keep up
    └── Internal              a defect in Rubicon

Each carries the reason that `error.proto` names, a message that says what was wrong, and a hint that says what to do
next. `api/guard.py` is the one place that turns them into a gRPC status.
"""

from __future__ import annotations

from typing import ClassVar

import grpc

from rubicon.v1 import error_pb2


class PlaneError(Exception):
    """Base of all; `reason` is a name of ErrorReason without its prefix."""

    reason: ClassVar[str] = "INTERNAL"
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    next_step: ClassVar[str] = "report this as a defect, with the plane's log"

    def __init__(self, message: str, hint: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.next_step
        self.metadata = metadata

    @property
    def in_words(self) -> str:
        """What was wrong, and what to do next."""
        return f"{self.message}; {self.hint}"


class NotAuthenticated(PlaneError):
    """No token was sent, or it is not one of ours."""

    reason = "UNAUTHENTICATED"
    code = grpc.StatusCode.UNAUTHENTICATED
    next_step = "attest at the sensor's local socket and send the token as 'authorization: Bearer TOKEN'"


class TokenHasExpired(PlaneError):
    """The token was good once."""

    reason = "TOKEN_EXPIRED"
    code = grpc.StatusCode.UNAUTHENTICATED
    next_step = "attest again at the sensor's local socket"


class Refused(PlaneError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"
    code = grpc.StatusCode.PERMISSION_DENIED
    next_step = "ask root of this host"


class CallerIsAgent(Refused):
    """The caller belongs to an enrolled agent."""

    reason = "CALLER_IS_AGENT"
    next_step = "call from a process that is not watched"


class AgentNotFound(PlaneError):
    """No agent has this id, prefix or name."""

    reason = "AGENT_NOT_FOUND"
    code = grpc.StatusCode.NOT_FOUND
    next_step = "list agents with 'rubicon ps -a'"


class AgentNameTaken(PlaneError):
    """A living agent has this name."""

    reason = "AGENT_NAME_TAKEN"
    code = grpc.StatusCode.ALREADY_EXISTS
    next_step = "choose another name, or finish the agent that has it"


class AgentEnded(PlaneError):
    """The agent has already ended."""

    reason = "AGENT_ENDED"
    code = grpc.StatusCode.FAILED_PRECONDITION
    next_step = "create a new agent"


class ProcessNotFound(PlaneError):
    """No such process, or its pid was reused."""

    reason = "PROCESS_NOT_FOUND"
    code = grpc.StatusCode.NOT_FOUND
    next_step = "look at the agent's tree with 'rubicon tree AGENT'"


class AlreadyEnrolled(PlaneError):
    """The process or cgroup belongs to another agent."""

    reason = "ALREADY_ENROLLED"
    code = grpc.StatusCode.ALREADY_EXISTS
    next_step = "finish the agent that owns it first"


class CgroupNotFound(PlaneError):
    """No such cgroup on the default hierarchy."""

    reason = "CGROUP_NOT_FOUND"
    code = grpc.StatusCode.NOT_FOUND
    next_step = "give a path below the cgroup v2 mount"


class SensorUnreachable(PlaneError):
    """No sensor of that host is connected."""

    reason = "SENSOR_UNREACHABLE"
    code = grpc.StatusCode.UNAVAILABLE
    next_step = "look at the sensor with 'rubicon doctor'; 'rubicon kill --local' works without the plane"


class HostMismatch(PlaneError):
    """The sensor speaks for a host that its identity does not name."""

    reason = "HOST_MISMATCH"
    code = grpc.StatusCode.PERMISSION_DENIED
    next_step = "a sensor may only speak for its own host: check its key and its host name"


class SensorDuplicate(PlaneError):
    """Another sensor of that host is connected and alive."""

    reason = "SENSOR_DUPLICATE"
    code = grpc.StatusCode.ALREADY_EXISTS
    next_step = "stop one of the two sensors of this host"


class CommandTimeout(PlaneError):
    """The host did not answer in time."""

    reason = "DEADLINE"
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    next_step = "look at the sensor with 'rubicon doctor'"


class InvalidArgument(PlaneError):
    """A field has a value that cannot be."""

    reason = "INVALID_ARGUMENT"
    code = grpc.StatusCode.INVALID_ARGUMENT
    next_step = "correct the field that the message names"


class SettingsInvalid(InvalidArgument):
    """The settings file cannot be read, or something in it cannot be; the message names file and line."""

    next_step = "correct the settings file"


class AuditKeyUnusable(PlaneError):
    """The key that signs the audit, or the file of what it signed, cannot be used as it is."""

    next_step = "run it as root, and look at the state folder's owner, mode and free space"


class TargetProtected(PlaneError):
    """The target must not be killed without force."""

    reason = "TARGET_PROTECTED"
    code = grpc.StatusCode.FAILED_PRECONDITION
    next_step = "repeat with force when you mean it"


class CursorInvalid(PlaneError):
    """The cursor is not one of ours, or its events are gone."""

    reason = "CURSOR_INVALID"
    code = grpc.StatusCode.OUT_OF_RANGE
    next_step = "start again without a cursor, or with 'since'"


class StoreUnavailable(PlaneError):
    """The store cannot be written now; nothing was acknowledged."""

    reason = "STORE_UNAVAILABLE"
    code = grpc.StatusCode.UNAVAILABLE
    next_step = "free space, or end whoever locks the plane's database; sensors keep and re-send what is missing"


class NotFound(PlaneError):
    """No such alert or response."""

    reason = "NOT_FOUND"
    code = grpc.StatusCode.NOT_FOUND
    next_step = "list them with 'rubicon alerts'"


class TooSlow(PlaneError):
    """A watcher did not read as fast as there was news, or there are too many watchers."""

    reason = "OVERLOADED"
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    next_step = "resume with the last cursor, with a narrower filter or a faster reader"


class Internal(PlaneError):
    """A defect in Rubicon."""


_ALL: tuple[type[PlaneError], ...] = (
    NotAuthenticated, TokenHasExpired, Refused, CallerIsAgent, AgentNotFound, AgentNameTaken, AgentEnded,
    ProcessNotFound, AlreadyEnrolled, CgroupNotFound, SensorUnreachable, HostMismatch, SensorDuplicate, CommandTimeout,
    InvalidArgument, TargetProtected, CursorInvalid, StoreUnavailable, NotFound, TooSlow, Internal,
)  # fmt: skip
BY_REASON: dict[str, type[PlaneError]] = {kind.reason: kind for kind in _ALL}


def from_sensor(reason: str, message: str) -> PlaneError:
    """The error for what a sensor's CommandResult says; an unknown reason is Internal."""
    kind = BY_REASON.get(reason.removeprefix("ERROR_REASON_"), Internal)
    return kind(message or "the sensor refused without saying why")


def known_reason(reason: str) -> bool:
    """True when error.proto names this reason."""
    return f"ERROR_REASON_{reason}" in error_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum wrapper, no dict
