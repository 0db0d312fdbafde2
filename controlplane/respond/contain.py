"""Freeze, isolate and release, from request to verified; and dry runs of any response.

As a kill, each is stored as requested before the sensor hears of it, so that a plane which dies in between carries it out
after its restart; what a slow disk keeps waiting is done first. What is in force is what the sensor says (Contain events,
with who asked and why: so it is audited even where the plane died before it could store anything), never what was asked for.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from controlplane import logs
from controlplane.errors import AgentEnded, InvalidArgument, PlaneError, from_sensor
from controlplane.respond.asked import Asked
from controlplane.respond.ledger import Ledger
from controlplane.respond.ports import Sender, Trees
from controlplane.respond.target import Resolved, resolve, wire_key
from controlplane.store import convert
from rubicon.v1 import ids, response_pb2, sensor_service_pb2

KILL, FREEZE, ISOLATE, RELEASE = (
    response_pb2.ACTION_KILL,
    response_pb2.ACTION_FREEZE,
    response_pb2.ACTION_ISOLATE,
    response_pb2.ACTION_RELEASE,
)
FAILED = response_pb2.RESPONSE_STATE_FAILED
PATIENCE = 0.005
"""Seconds that one waits for its request to be durable: the write takes 3 ms, and 60 where the database makes a checkpoint."""
_log = logs.get("respond")


class Container:
    """One for the plane; for the event loop's thread."""

    def __init__(
        self, sender: Sender, trees: Trees, ledger: Ledger, timeout: float, wall_clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._sender = sender
        self._trees = trees
        self._ledger = ledger
        self._timeout = timeout
        self._now = wall_clock

    async def respond(
        self, action: response_pb2.Action.ValueType, target: response_pb2.Target, asked: Asked
    ) -> response_pb2.Response:
        """Freeze, isolate or release; or, with `asked.dry_run`, say whom that or a kill would touch.

        Returns:
            The response as it is stored; a dry run is not.

        Raises:
            InvalidArgument, AgentNotFound, ProcessNotFound, AgentEnded: the target cannot be contained.
            SensorUnreachable, CommandTimeout, TargetProtected, CallerIsAgent …: the host did not, or would not, do it.
            StoreUnavailable: the plane is stopping, so nothing was done; or as Ledger.done() says.
        """
        found = await resolve(target, self._ledger, self._trees)
        if found.pending:
            raise InvalidArgument(f"agent {found.agent.name} has no process yet", "enrol one first")
        if found.over:
            raise AgentEnded(f"agent {found.agent.name} has ended: there is nothing to do it to")
        response = response_pb2.Response(
            id=asked.response_id or ids.new_id(),
            action=action,
            agent_id=found.agent.id,
            state=response_pb2.RESPONSE_STATE_REQUESTED,
            reason=asked.reason,
            requested_by=asked.by,
            alert_id=asked.alert_id,
            requested_at=convert.stamp(self._now()),
            dry_run=asked.dry_run,
            isolation=asked.isolation,
        )
        response.target.agent = found.agent.id
        if found.process is not None:
            of = response.target.process
            of.host, of.boot_id = found.boot.host, found.boot.boot_id
            of.pid, of.start_time_ns = found.process
        if asked.ttl_ns:
            response.expires_at.CopyFrom(convert.stamp(self._now() + asked.ttl_ns))
        if not asked.dry_run:
            await self._ledger.begin(response, PATIENCE)
        return await self._carry_out(found, response, asked)

    async def resume(self, message: response_pb2.Response) -> None:
        """After a restart: carry out (again) what was stored as requested. Failures are logged and stored."""
        ttl_ns = 0
        if message.HasField("expires_at"):
            ttl_ns = convert.nanoseconds(message.expires_at) - self._now()
            if ttl_ns <= 0:
                message.state, message.error = FAILED, "its time was over before the host could do it"
                message.finished_at.CopyFrom(convert.stamp(self._now()))
                await self._ledger.keep(message)
                return
        asked = Asked(
            message.requested_by,
            message.reason,
            alert_id=message.alert_id,
            response_id=message.id,
            ttl_ns=ttl_ns,
            isolation=message.isolation,
        )
        try:
            found = await resolve(message.target, self._ledger, self._trees)
        except PlaneError as error:
            await self._ledger.give_up(message, error, self._now())
            return
        try:
            await self._carry_out(found, message, asked)
        except PlaneError as error:
            _log.warning("resumed response failed", response=message.id, agent=message.agent_id, error=str(error))

    async def _carry_out(self, found: Resolved, response: response_pb2.Response, asked: Asked) -> response_pb2.Response:
        try:
            command = self._command(found, response, asked)
            interim = functools.partial(self._ledger.applied, response)
            result = await self._sender.command(found.boot.host, command, self._timeout, interim)
            if result.error_reason:
                raise from_sensor(result.error_reason, result.error)
        except PlaneError as error:
            if not asked.dry_run:
                await self._ledger.fail(response, error, self._now())
            raise
        said = result.response
        response.state, response.error = said.state, said.error
        response.elapsed_ns, response.destroyed = said.elapsed_ns, said.destroyed
        response.finished_at.CopyFrom(convert.stamp(self._now()))
        if said.HasField("expires_at"):
            response.expires_at.CopyFrom(said.expires_at)
        for name in ("steps", "survivors", "members"):
            del getattr(response, name)[:]
            getattr(response, name).extend(getattr(said, name))
        return response if asked.dry_run else await self._ledger.done(response)

    def _command(self, found: Resolved, response: response_pb2.Response, asked: Asked) -> sensor_service_pb2.Command:
        process, caller = found.process, asked.caller
        known = self._trees.descendants(found.agent.id, process) if process else ()
        wire = {
            "descendants": [wire_key(each) for each in known],
            "response_id": response.id,
            "agent_id": found.agent.id,
            "reason": asked.reason,
            "force": asked.force,
            "dry_run": asked.dry_run,
            "process": wire_key(process) if process else None,
            "caller": wire_key(caller) if caller else None,
        }
        if response.action == KILL:
            return sensor_service_pb2.Command(kill=sensor_service_pb2.KillCommand(**wire))  # type: ignore[arg-type]
        contain = sensor_service_pb2.ContainCommand(
            **wire,  # type: ignore[arg-type]
            action=response.action,
            ttl_ns=asked.ttl_ns,
            isolation=asked.isolation,
            requested_by=asked.by,
        )
        return sensor_service_pb2.Command(contain=contain)
