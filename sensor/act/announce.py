"""Tells the plane what of an agent is contained now, and what was done that it did not ask for."""

from __future__ import annotations

import time
from collections.abc import Callable

from rubicon.v1 import event_pb2, process_pb2, response_pb2
from sensor.act.kill import Order
from sensor.act.processes import Key
from sensor.act.registry import Living


class Announcer:
    """Any thread may call."""

    def __init__(self, emit: Callable[[event_pb2.Event], None]) -> None:
        self._emit = emit

    def __call__(
        self,
        agent: Living,
        order: Order,
        action: response_pb2.Action.ValueType = response_pb2.ACTION_UNSPECIFIED,
        target: Key | None = None,
    ) -> None:
        """Emit a Contain event.

        Args:
            action: what was asked for; unspecified where nothing was.
            target: the process that it was asked for; None for the whole agent.
        """
        contain = event_pb2.Contain(
            frozen=agent.frozen,
            isolated=agent.wholly_isolated,
            freeze_expires_ns=agent.freeze_expires_ns,
            isolation_expires_ns=agent.isolation_expires_ns,
            response_id=order.response_id,
            reason=order.reason,
            requested_by=order.requested_by,
            action=action,
            process=process_pb2.ProcessKey(pid=target[0], start_time_ns=target[1]) if target else None,
        )
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._emit(event_pb2.Event(time_ns=now, agent_id=agent.id, contain=contain))
