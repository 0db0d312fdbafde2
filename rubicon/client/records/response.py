"""What was done about an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.json_format import ParseDict

from rubicon.client.records.enum import word
from rubicon.client.records.moment import moment, nanoseconds
from rubicon.v1 import response_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """A process that is still there."""

    pid: int
    start_time: int
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process of a target."""

    pid: int
    start_time: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response."""

    id: str
    action: str
    """kill, freeze, isolate or release."""
    agent_id: str
    process: tuple[int, int] | None
    """(pid, start time) of the process that it was for, with its descendants; None for the whole agent."""
    state: str
    """requested, applied, verified or failed."""
    reason: str
    requested_by: str
    alert_id: str
    requested_at_ns: int
    finished_at_ns: int
    killed: int
    """Processes that were ended."""
    elapsed_ns: int
    """From the request at the sensor until it was verified."""
    survivors: tuple[Survivor, ...]
    steps: tuple[str, ...]
    """How it was done and verified, in order."""
    error: str
    expires_at_ns: int
    """When a freeze or isolation ends by itself; 0 for never."""
    destroyed: int
    """Connections that an isolation cut."""
    members: tuple[Member, ...]
    """Of a dry run: whom it would touch."""
    dry_run: bool

    @property
    def expires_at(self) -> datetime | None:
        """When a freeze or isolation ends by itself."""
        return moment(self.expires_at_ns)

    @property
    def requested_at(self) -> datetime | None:
        """When it was asked for."""
        return moment(self.requested_at_ns)

    @property
    def verified(self) -> bool:
        """The kernel says that it is done, and nothing is left."""
        return self.state == "verified"

    @classmethod
    def of(cls, message: response_pb2.Response) -> Response:
        """From the wire."""
        return cls(
            id=message.id,
            action=word(response_pb2.Action, message.action),
            agent_id=message.agent_id,
            process=(of.pid, of.start_time_ns) if (of := message.target.process).pid else None,
            state=word(response_pb2.ResponseState, message.state),
            reason=message.reason,
            requested_by=message.requested_by,
            alert_id=message.alert_id,
            requested_at_ns=nanoseconds(message.requested_at),
            finished_at_ns=nanoseconds(message.finished_at),
            killed=message.killed,
            elapsed_ns=message.elapsed_ns,
            survivors=tuple(
                Survivor(pid=each.id.pid, start_time=each.id.start_time_ns, name=each.comm, why=each.why)
                for each in message.survivors
            ),
            steps=tuple(message.steps),
            error=message.error,
            expires_at_ns=nanoseconds(message.expires_at),
            destroyed=message.destroyed,
            members=tuple(
                Member(pid=each.id.pid, start_time=each.id.start_time_ns, name=each.comm) for each in message.members
            ),
            dry_run=message.dry_run,
        )

    @classmethod
    def of_local(cls, answer: Mapping[str, Any]) -> Response:
        """From the answer of the local socket; fields of a newer sensor are ignored."""
        return cls.of(ParseDict(dict(answer["response"]), response_pb2.Response(), ignore_unknown_fields=True))
