"""Processes that ran before they were enrolled: there is no exec record of them, so /proc tells.

The kernel's task iterator gives identity, parent and cgroup (/proc has start times in 10 ms ticks only) and is asked
again after the read: a pid that was given to another meanwhile yields nothing. A process can make reads of it hang (its
memory on a file system that it serves itself); each gets one second, and then only what the iterator says is told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import structlog

from rubicon.v1 import event_pb2, ids
from sensor.collect.clock import boottime_ns
from sensor.collect.process_facts import read_facts

READ_SECONDS = 1.0
STUCK_LIMIT = 8
"""Reads that may hang at once in this sensor; beyond it no process's memory is read until one of them returns."""
_log = structlog.get_logger(part="snapshot")
_stuck = threading.Semaphore(STUCK_LIMIT)


class Task(Protocol):
    """A thread group as the kernel's task iterator shows it (sensor.kernel)."""

    @property
    def pid(self) -> int: ...
    @property
    def start_time(self) -> int: ...
    @property
    def parent_pid(self) -> int: ...
    @property
    def parent_start_time(self) -> int: ...
    @property
    def agent(self) -> int: ...
    @property
    def cgroup_id(self) -> int: ...
    @property
    def comm(self) -> str: ...


class Kernel(Protocol):
    """What the snapshot needs of sensor.kernel's Kernel."""

    def task(self, pid: int) -> Task | None: ...


def snapshot(
    kernel: Kernel, pids: Iterable[int], read: Callable[[int], event_pb2.Exec] = read_facts
) -> Iterator[event_pb2.Event]:
    """One ProcessSnapshot event per process that still lives, in the order of `pids`; record ids are given by `emit`.

    Blocks (up to a second for a hostile process): call it in a thread.
    """
    for pid in pids:
        before = kernel.task(pid)
        if before is None:
            continue
        facts = _guarded(read, pid)
        after = kernel.task(pid)
        if after is None or after.start_time != before.start_time:
            continue
        yield _event(after, facts)


def _event(task: Task, facts: event_pb2.Exec | None) -> event_pb2.Event:
    event = event_pb2.Event(time_ns=boottime_ns(), agent_id=ids.agent_id(task.agent))
    event.process.pid = task.pid
    event.process.start_time_ns = task.start_time
    snapshot = event.process_snapshot
    if facts is not None:
        snapshot.exec.CopyFrom(facts)
    if not snapshot.exec.comm:
        snapshot.exec.comm = task.comm
    snapshot.exec.cgroup_id = task.cgroup_id
    for parent in (snapshot.parent, snapshot.exec.parent):
        parent.pid = task.parent_pid
        parent.start_time_ns = task.parent_start_time
    return event


def _guarded(read: Callable[[int], event_pb2.Exec], pid: int) -> event_pb2.Exec | None:
    """Read in a thread that may be left behind; None when the process made it hang."""
    if not _stuck.acquire(blocking=False):
        _log.warning("snapshot_skipped", pid=pid, action="too many processes block reads of their memory")
        return None
    answer: queue.SimpleQueue[event_pb2.Exec | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put(read(pid))
        except Exception as error:  # noqa: BLE001  # whatever one process shows, the others are told
            _log.error("snapshot_failed", pid=pid, error=repr(error))
            answer.put(None)
        finally:
            _stuck.release()

    threading.Thread(target=run, name=f"snapshot-{pid}", daemon=True).start()
    try:
        return answer.get(timeout=READ_SECONDS)
    except queue.Empty:
        _log.warning("snapshot_hangs", pid=pid, action="the process blocks reads of its memory or files")
        return None
