"""Tamper events: each thing that a process does is told once, so that an agent cannot flood with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from rubicon.v1 import event_pb2, process_pb2
from rubicon.v1.ids import agent_id
from sensor.act.processes import Key

log = structlog.get_logger(part="guard")
REMEMBERED = 4096
"""Things that were told; beyond it they are forgotten, and told again when they are seen again."""


class Report:
    """Any thread may call."""

    def __init__(self, emit: Callable[[event_pb2.Event], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._told: set[tuple[int, Key, str, str]] = set()

    def tamper(self, agent: int, process: Key, action: str, detail: str, *, again: bool = False) -> None:
        """Tell that a process of an agent did something; once, unless it is a thing that was done `again`."""
        with self._lock:
            what = (agent, process, action, detail)
            if what in self._told and not again:
                return
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told.add(what)
        log.warning("an agent tampers", agent=agent_id(agent), action=action, detail=detail, pid=process[0])
        self._emit(
            event_pb2.Event(
                time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                agent_id=agent_id(agent),
                process=process_pb2.ProcessKey(pid=process[0], start_time_ns=process[1]),
                tamper=event_pb2.Tamper(action=action, detail=detail),
            )
        )
