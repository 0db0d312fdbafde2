"""Identities. A pid alone is never one."""

from __future__ import annotations

from typing import NamedTuple

from rubicon.v1 import event_pb2, process_pb2

_new = tuple.__new__  # without the constructor's detour through Python: most of all records need a key


class Boot(NamedTuple):
    """One boot of one host."""

    host: str
    boot_id: str


class HostKey(NamedTuple):
    """Where a batch comes from, and how its boot times become wall-clock times."""

    host: str
    boot_id: str
    clock_offset_ns: int
    """Wall clock minus CLOCK_BOOTTIME when the batch was made."""

    @property
    def boot(self) -> Boot:
        """The part that is identity."""
        return Boot(self.host, self.boot_id)


class ProcessKey(NamedTuple):
    """A process on one boot: tgid in the initial pid namespace, start_boottime of the group leader in ns."""

    pid: int
    start_time_ns: int


class RecordKey(NamedTuple):
    """Identity of one record on one boot: map epoch, CPU, sequence."""

    epoch: int
    cpu: int
    sequence: int


def process_key(message: process_pb2.ProcessKey) -> ProcessKey | None:
    """The key in a message; None when it names nobody (pid 0)."""
    pid = message.pid
    return _new(ProcessKey, (pid, message.start_time_ns)) if pid else None


def record_key(event: event_pb2.Event) -> RecordKey:
    """The identity of an event's record."""
    record = event.record
    return RecordKey(record.epoch, record.cpu, record.sequence)
