"""What can go wrong when somebody asks Rubicon something, as one tree.

    RubiconError
    ├── RubiconUnreachable      nobody answers here, or not in time
    │   ├── SensorUnreachable   the plane answers, the host's sensor does not
    │   ├── StoreUnavailable    the plane cannot write now
    │   └── DeadlineExceeded    the host did not answer in time
    ├── Refused                 it may not be done
    │   ├── PermissionDenied    the caller may not do this
    │   ├── Unauthenticated     no token, or not one of ours
    │   │   └── TokenExpired    it was good once
    │   ├── CallerIsAgent       the caller is itself watched
    │   ├── TargetProtected     only with force
    │   ├── AgentNameTaken, AlreadyEnrolled
    │   ├── AgentEnded          too late
    │   │   └── AgentKilledError  a response ended it; says why
    │   └── HostMismatch, SensorDuplicate, Overloaded
    ├── NotFound                no such alert or response
    │   └── AgentNotFound, ProcessNotFound, CgroupNotFound
    ├── InvalidArgument         a value that cannot be
    │   └── CursorInvalid       the cursor is not one of ours, or its events are gone
    └── InternalError           a defect in Rubicon

Each carries `reason`, a name of ErrorReason (error.proto) without its prefix, and `hint`, what to do next; only the
`reason` of AgentKilledError is what the agent was killed for. This module imports nothing, so that `rubicon run` can
use it before anything heavy is loaded.
"""

from __future__ import annotations

from typing import ClassVar


class RubiconError(Exception):
    """Base of all; the message says what was wrong, `hint` what to do (it may be empty)."""

    reason: str = ""
    advice: ClassVar[str] = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.advice


class RubiconUnreachable(RubiconError):
    """Nobody answers: Rubicon does not run here, or only half of it."""

    advice = "start it with 'sudo rubicon up', or look with 'rubicon doctor'"


class SensorUnreachable(RubiconUnreachable):
    """No sensor of that host is connected to the plane."""

    reason = "SENSOR_UNREACHABLE"


class StoreUnavailable(RubiconUnreachable):
    """The plane's store cannot be written now."""

    reason = "STORE_UNAVAILABLE"


class DeadlineExceeded(RubiconUnreachable):
    """There was no answer in time."""

    reason = "DEADLINE"


class Refused(RubiconError):
    """It may not be done."""


class PermissionDenied(Refused):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class Unauthenticated(Refused):
    """The plane does not know who is calling."""

    reason = "UNAUTHENTICATED"


class TokenExpired(Unauthenticated):
    """The token was good once; the client fetches a new one by itself."""

    reason = "TOKEN_EXPIRED"


class CallerIsAgent(Refused):
    """The caller is itself an enrolled agent's process."""

    reason = "CALLER_IS_AGENT"
    advice = "call from a process that is not watched"


class TargetProtected(Refused):
    """The target holds what must not be killed by mistake."""

    reason = "TARGET_PROTECTED"
    advice = "repeat with --force (force=True) when you mean it"


class AgentNameTaken(Refused):
    """A living agent has this name."""

    reason = "AGENT_NAME_TAKEN"
    advice = "choose another name, or end the agent that has it"


class AgentEnded(Refused):
    """The agent has already ended."""

    reason = "AGENT_ENDED"


class AgentKilledError(AgentEnded):
    """The agent that was waited for was killed by a response: this is no failure of the infrastructure.

    `reason` is the response's, `alert_id` the alert for which it was (empty when it was no alert), `agent` the name.
    """

    reason = ""
    advice = ""

    def __init__(self, reason: str, alert_id: str = "", agent: str = "") -> None:
        super().__init__(f"agent {agent} was killed: {reason or 'no reason given'}")
        self.reason = reason
        self.alert_id = alert_id
        self.agent = agent
        if alert_id:
            self.hint = f"see its alerts with 'rubicon alerts {agent}'"


class AlreadyEnrolled(Refused):
    """The process or cgroup belongs to another agent: the first owner stays."""

    reason = "ALREADY_ENROLLED"


class HostMismatch(Refused):
    """A sensor spoke for a host that is not its own."""

    reason = "HOST_MISMATCH"


class SensorDuplicate(Refused):
    """Another sensor of that host is connected."""

    reason = "SENSOR_DUPLICATE"


class Overloaded(Refused):
    """A watcher did not read as fast as there was news, or there are too many watchers."""

    reason = "OVERLOADED"


class NotFound(RubiconError):
    """No such thing."""

    reason = "NOT_FOUND"


class AgentNotFound(NotFound):
    """No agent has this id, id prefix or name."""

    reason = "AGENT_NOT_FOUND"
    advice = "list agents with 'rubicon ps -a'"


class ProcessNotFound(NotFound):
    """No such process, or its pid was given to another."""

    reason = "PROCESS_NOT_FOUND"


class CgroupNotFound(NotFound):
    """No such cgroup on the default (v2) hierarchy."""

    reason = "CGROUP_NOT_FOUND"


class InvalidArgument(RubiconError):
    """A value that cannot be."""

    reason = "INVALID_ARGUMENT"


class CursorInvalid(InvalidArgument):
    """The cursor is not one of ours, or its events are gone."""

    reason = "CURSOR_INVALID"


class InternalError(RubiconError):
    """A defect in Rubicon."""

    reason = "INTERNAL"
    advice = "report it, with the output of 'rubicon logs'"


def _tree(kind: type[RubiconError]) -> list[type[RubiconError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


BY_REASON: dict[str, type[RubiconError]] = {kind.reason: kind for kind in _tree(RubiconError) if kind.reason}


def from_reason(reason: str, message: str, hint: str = "") -> RubiconError:
    """The error for a reason as the wire carries it; one that this version does not know is an InternalError."""
    return BY_REASON.get(reason.removeprefix("ERROR_REASON_"), InternalError)(message, hint)
