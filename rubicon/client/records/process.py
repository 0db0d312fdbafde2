"""A process of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rubicon.client.records.moment import moment, nanoseconds
from rubicon.v1 import process_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """Identified by (host, boot_id, pid, start_time), never by the pid alone."""

    host: str
    boot_id: str
    pid: int
    """In the host's initial pid namespace."""
    start_time: int
    """Nanoseconds since boot, as the kernel counts them."""
    agent_id: str
    parent_pid: int
    parent_start_time: int
    exe: str
    argv: tuple[str, ...]
    """Secrets are masked unless they were asked for."""
    cwd: str
    uid: int
    euid: int
    started_at_ns: int
    ended_at_ns: int
    """0 while it lives."""
    status: int
    """Exit status, when it ended without a signal."""
    signal: int
    """Signal that ended it, or 0."""
    execs: int
    container: str
    """Container id, or empty."""

    @property
    def started_at(self) -> datetime | None:
        """When it was made."""
        return moment(self.started_at_ns)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None while it lives."""
        return moment(self.ended_at_ns)

    @property
    def alive(self) -> bool:
        """It has not ended, as far as the plane knows."""
        return not self.ended_at_ns

    @property
    def key(self) -> tuple[str, int, int]:
        """Identity within an agent's host: (boot_id, pid, start_time)."""
        return self.boot_id, self.pid, self.start_time

    @classmethod
    def of(cls, message: process_pb2.Process) -> Process:
        """From the wire."""
        return cls(
            host=message.id.host,
            boot_id=message.id.boot_id,
            pid=message.id.pid,
            start_time=message.id.start_time_ns,
            agent_id=message.agent_id,
            parent_pid=message.parent_pid,
            parent_start_time=message.parent_start_time_ns,
            exe=message.exe,
            argv=tuple(message.argv),
            cwd=message.cwd,
            uid=message.credentials.uid,
            euid=message.credentials.euid,
            started_at_ns=nanoseconds(message.started_at),
            ended_at_ns=nanoseconds(message.ended_at),
            status=message.status,
            signal=message.signal,
            execs=message.execs,
            container=message.container,
        )
