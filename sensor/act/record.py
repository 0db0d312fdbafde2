"""A response as the sensor writes it: who was asked for, whom it would touch, who is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rubicon.v1 import process_pb2, response_pb2
from sensor.act.processes import Key, key
from sensor.act.registry import Living

if TYPE_CHECKING:
    from sensor.act.hunt import Hunt

MOST_NAMED = 1000
"""Survivors that a response names; its error has their number."""


class Asked(Protocol):
    """What of an order stands in its response."""

    @property
    def response_id(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def requested_by(self) -> str: ...
    @property
    def dry_run(self) -> bool: ...
    @property
    def applied(self) -> Callable[[response_pb2.Response], None]: ...


@dataclass(frozen=True, slots=True)
class Recorder:
    """Names processes as this host's, in this boot."""

    host: str
    boot_id: str

    def requested(
        self, action: response_pb2.Action.ValueType, agent: Living, order: Asked, target: Key | None = None
    ) -> response_pb2.Response:
        """A response to an agent, or to one of its processes, as it was asked for."""
        response = response_pb2.Response(
            id=order.response_id,
            action=action,
            agent_id=agent.id,
            state=response_pb2.RESPONSE_STATE_REQUESTED,
            reason=order.reason,
            requested_by=order.requested_by,
            dry_run=order.dry_run,
        )
        if target:
            response.target.process.CopyFrom(self._process(target))
        else:
            response.target.agent = agent.id
        response.requested_at.GetCurrentTime()
        return response

    def applied(self, response: response_pb2.Response, order: Asked) -> None:
        """What was asked for is done; say so before it is verified."""
        response.state = response_pb2.RESPONSE_STATE_APPLIED
        order.applied(response)

    def dry_run(self, response: response_pb2.Response, hunt: Hunt) -> response_pb2.Response:
        """A dry run is over: whom it would touch, by pid."""
        for task in sorted(hunt.members(hunt.look()), key=lambda task: task.pid):
            response.members.add(id=self._process(key(task)), comm=task.comm)
        response.steps.append("dry run: nothing was done")
        response.finished_at.GetCurrentTime()
        return response

    def left(self, response: response_pb2.Response, processes: Iterable[tuple[Key, str, str]]) -> None:
        """Name who is left: (process, name or "", why)."""
        for (process, comm, why), _ in zip(processes, range(MOST_NAMED), strict=False):
            response.survivors.add(id=self._process(process), comm=comm, why=why)

    def _process(self, process: Key) -> process_pb2.ProcessId:
        pid, start_time = process
        return process_pb2.ProcessId(host=self.host, boot_id=self.boot_id, pid=pid, start_time_ns=start_time)
