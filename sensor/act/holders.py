"""Who holds a socket that no cgroup hook governs (packet, vsock, XDP, RDS …) while its agent is isolated.

Who held one before is named by the answer to the isolation. Who comes by one later is told: he is what containment cannot hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from rubicon.v1 import event_pb2, process_pb2
from sensor.act.processes import Key
from sensor.act.registry import Living

log = structlog.get_logger(part="contain")


class Holders:
    """Those that are known, by agent; any thread may call."""

    def __init__(self, emit: Callable[[event_pb2.Event], None]) -> None:
        self._emit = emit
        self._known: dict[str, set[Key]] = {}

    def know(self, agent: Living, holders: Iterable[Key]) -> None:
        """These are no news, and all others are."""
        self._known[agent.id] = set(holders)

    def forget(self, agent: Living) -> None:
        """It has ended, or is being isolated: nobody of it is told until some are known."""
        self._known.pop(agent.id, None)

    def found(self, agent: Living, holder: Key, family: str) -> bool:
        """Tell of one, unless he is known; whether he was not."""
        known = self._known.get(agent.id)
        if known is None or holder in known:
            return False
        known.add(holder)
        log.warning(
            "an isolated agent holds a socket that no hook governs", agent=agent.id, pid=holder[0], family=family
        )
        detail = f"holds a socket of {family}, which no hook governs, while its agent is isolated"
        event = event_pb2.Event(
            time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            agent_id=agent.id,
            process=process_pb2.ProcessKey(pid=holder[0], start_time_ns=holder[1]),
            tamper=event_pb2.Tamper(action="ungoverned-socket", detail=detail),
        )
        self._emit(event)
        return True
