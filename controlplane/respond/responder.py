"""Kills, from request to verified.

A response is stored as requested before the sensor hears of it, so a plane that dies in between carries it out after
its restart (resume); only a disk that takes no write at all is not waited for. Two requests for the same target at once are
one response; a request for a target that has ended gives the response that ended it, or one that says there was nothing to do.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable

from controlplane import logs
from controlplane.errors import AgentEnded, AgentNotFound, PlaneError, ProcessNotFound, StoreUnavailable, from_sensor
from controlplane.model import Boot, ProcessKey, Response, ResponseWanted, Survivor
from controlplane.respond.asked import Asked
from controlplane.respond.contain import Container
from controlplane.respond.followed import Followed
from controlplane.respond.ledger import Ledger
from controlplane.respond.ports import Sender, Trees
from controlplane.respond.target import Resolved, resolve, wire_key
from controlplane.store import convert
from controlplane.store.store import Store
from rubicon.v1 import ids, response_pb2, sensor_service_pb2

_log = logs.get("respond")
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
FAILED = response_pb2.RESPONSE_STATE_FAILED
APPLIED = response_pb2.RESPONSE_STATE_APPLIED
PATIENCE = 1.0
"""Seconds that a kill waits for its request to be durable. A kill is worth the wait: unlike the others, it cannot be told from
what the host says afterwards who asked for it."""
END_COMES_WITHIN = 1.0
"""Seconds in which the end of an agent comes up that the sensor has already forgotten."""


class Responder:
    """One for the plane; for the event loop's thread."""

    def __init__(
        self,
        sender: Sender,
        trees: Trees,
        store: Store,
        timeout: float,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        Args:
            timeout: seconds that a sensor may take.
            wall_clock: nanoseconds since 1970.
        """
        self._sender = sender
        self._trees = trees
        self.ledger = Ledger(store)
        self._timeout = timeout
        self._now = wall_clock
        self._container = Container(sender, trees, self.ledger, timeout, wall_clock)
        self._stopping = False
        self._running: dict[tuple[str, ProcessKey | None, bool], asyncio.Task[response_pb2.Response]] = {}
        self.followed = Followed(trees, self.ledger, wall_clock)

    async def kill(self, target: response_pb2.Target, asked: Asked) -> response_pb2.Response:
        """End the target; returns when that is verified or has failed. A caller that goes away does not stop it.

        Returns:
            The response, as it is stored.

        Raises:
            InvalidArgument, AgentNotFound, ProcessNotFound: the target is nobody.
            SensorUnreachable, CommandTimeout, TargetProtected, CallerIsAgent …: the host did not, or would not, do it.
            StoreUnavailable: the plane is stopping, so nothing was done; or as Ledger.done() says.
        """
        return await self._kill_found(await resolve(target, self.ledger, self._trees), asked)

    async def _kill_found(self, target: Resolved, asked: Asked) -> response_pb2.Response:
        response = await self._join(target, asked)
        if asked.response_id in ("", response.id):
            return response
        # Another response does, or has done, what policy wants: its own says so, for the alert names it.
        own = response_pb2.Response()
        own.CopyFrom(response)
        own.id, own.alert_id, own.requested_by, own.reason = asked.response_id, asked.alert_id, asked.by, asked.reason
        own.steps.append(f"by response {response.id}")
        self.followed.add([own])
        return await self.ledger.keep(own)

    async def obey(self, wanted: ResponseWanted) -> response_pb2.Response:
        """Carry out what policy wants; call it once the alert is durable.

        Raises:
            As kill().
        """
        asked = Asked(wanted.by, wanted.reason, alert_id=wanted.alert_id, response_id=wanted.id)
        return await self.respond(wanted.action, response_pb2.Target(agent=wanted.agent_id), asked)

    async def respond(self, action: int, target: response_pb2.Target, asked: Asked) -> response_pb2.Response:
        """Any of the four responses.

        Raises:
            As kill(), and AgentEnded for what is neither a kill nor possible any more.
        """
        if action == response_pb2.ACTION_KILL and not asked.dry_run:
            return await self.kill(target, asked)
        return await self._container.respond(response_pb2.Action.ValueType(action), target, asked)

    async def resume(self, stored: Iterable[response_pb2.Response]) -> None:
        """After a restart, with all that were stored as requested or applied: carry them out (again).

        A kill is idempotent, so one that had been done already finds nothing left. Failures are logged and stored.
        """
        for message in stored:
            if message.action != response_pb2.ACTION_KILL:
                await self._container.resume(message)
                continue
            asked = Asked(message.requested_by, message.reason, alert_id=message.alert_id, response_id=message.id)
            try:
                found = await resolve(message.target, self.ledger, self._trees)
            except PlaneError as error:
                await self.ledger.give_up(message, error, self._now())
                continue
            try:
                await self._kill_found(found, asked)
            except PlaneError as error:
                _log.warning("resumed response failed", response=message.id, agent=message.agent_id, error=str(error))

    async def stop(self) -> None:
        """The plane stops: what is under way stays as it is stored, so that resume() goes on with it."""
        self._stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, target: Resolved, asked: Asked) -> response_pb2.Response:
        if self._stopping:
            raise StoreUnavailable("the plane is stopping")
        key = (target.agent.id, target.process, asked.force)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._kill(target, asked), name=f"kill {target.agent.id}")
            self._running[key] = task

            def done(finished: asyncio.Task[response_pb2.Response]) -> None:
                del self._running[key]
                if not finished.cancelled() and finished.exception() is not None:
                    _log.warning("kill failed", agent=target.agent.id, error=str(finished.exception()))

            task.add_done_callback(done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._stopping:
                raise StoreUnavailable("the plane is stopping; it goes on with the kill when it is back") from None
            raise

    async def _kill(self, target: Resolved, asked: Asked) -> response_pb2.Response:
        if target.over and (earlier := await self._earlier(target)) is not None:
            return earlier
        response = Response(
            id=asked.response_id or ids.new_id(),
            action=response_pb2.ACTION_KILL,
            agent_id=target.agent.id,
            boot=target.boot,
            process=target.process,
            reason=asked.reason,
            requested_by=asked.by,
            alert_id=asked.alert_id,
            requested_wall_ns=self._now(),
        )
        if target.over:
            return await self._nothing_left(target, response)
        requested = convert.response(response)
        await self.ledger.begin(requested, PATIENCE)
        interim = functools.partial(self.ledger.applied, requested)
        command = sensor_service_pb2.Command(kill=self._command(target, asked, response))
        try:
            result = await self._sender.command(target.boot.host, command, self._timeout, interim)
            if result.error_reason:
                raise from_sensor(result.error_reason, result.error)
        except (AgentEnded, ProcessNotFound) as error:
            response.state = VERIFIED
            response.steps = [f"had already ended ({error.message})"]
            return await self._settle(response, by_itself=True)
        except PlaneError as error:
            if isinstance(error, AgentNotFound) and await self._has_ended(target.agent.id):
                response.state = VERIFIED
                response.steps = ["had already ended"]
                return await self._settle(response, by_itself=True)
            await self._failed(response, error)
            raise
        _take(response, result.response)
        return await self._settle(response)

    def _command(self, target: Resolved, asked: Asked, response: Response) -> sensor_service_pb2.KillCommand:
        agent_id, process = target.agent.id, target.process
        known = self._trees.living(agent_id) if process is None else self._trees.descendants(agent_id, process)
        return sensor_service_pb2.KillCommand(
            response_id=response.id,
            agent_id=agent_id,
            process=wire_key(process) if process else None,
            descendants=[wire_key(key) for key in known],
            reason=asked.reason,
            force=asked.force,
            caller=wire_key(asked.caller) if asked.caller else None,
        )

    async def _settle(self, response: Response, by_itself: bool = False) -> response_pb2.Response:
        """Store how it ended; an agent that ended by itself was not killed."""
        agent = None
        if response.finished:
            response.finished_wall_ns = self._now()
        if response.process is None:
            if response.state == VERIFIED and not by_itself:
                agent = self._trees.killed(response.agent_id, response.reason, self._now())
            elif response.state == FAILED:
                self._trees.kill_failed(response.agent_id)
        elif response.state == VERIFIED and not by_itself:
            agent = self._trees.part_killed(response.agent_id, response.process, response.reason)
        settled = convert.response(response)
        self.followed.add([settled])
        return await self.ledger.done(settled, agent)

    async def _has_ended(self, agent_id: str) -> bool:
        """The sensor does not know the agent: usually its end is on its way up."""
        for _ in range(round(END_COMES_WITHIN / 0.02)):
            agent = self._trees.agent(agent_id)
            if agent is None or agent.ended:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _failed(self, response: Response, error: PlaneError) -> None:
        response.state = FAILED
        response.error = error.in_words
        try:
            await self._settle(response)
        except PlaneError as second:
            _log.error("failure not stored", response=response.id, error=str(second))

    async def _earlier(self, target: Resolved) -> response_pb2.Response | None:
        """The verified response that ended the target, if one did."""
        for message in await self.ledger.responses(target.agent.id):
            if message.state != VERIFIED or message.action != response_pb2.ACTION_KILL:
                continue
            whole = message.target.WhichOneof("kind") == "agent"
            same = message.target.process
            if whole or ProcessKey(same.pid, same.start_time_ns) == target.process:
                return message
        return None

    async def _nothing_left(self, target: Resolved, response: Response) -> response_pb2.Response:
        """The target had ended by itself, or nothing was enrolled yet: that is what was asked for."""
        response.state = VERIFIED
        response.steps = ["nothing was enrolled yet" if target.pending else "had already ended"]
        response.finished_wall_ns = self._now()
        if target.pending:
            await self.ledger.cancel_pending(target.agent, response.reason, response.finished_wall_ns)
        return await self.ledger.save(response, None)


def _take(response: Response, result: response_pb2.Response) -> None:
    """What the sensor says became of it."""
    response.state = result.state if result.state in (VERIFIED, APPLIED) else FAILED
    response.killed = result.killed
    response.elapsed_ns = result.elapsed_ns
    response.steps = list(result.steps)
    response.error = result.error
    response.survivors = [
        Survivor(Boot(s.id.host, s.id.boot_id), ProcessKey(s.id.pid, s.id.start_time_ns), s.comm, s.why)
        for s in result.survivors
    ]
    if response.state == FAILED and not response.error:
        response.error = f"{len(response.survivors)} processes are left"
