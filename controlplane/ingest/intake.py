"""A batch's way: through the pipeline in memory, then into the store, then to whom it concerns.

The pipeline runs on the event loop, batch by batch in the order of arrival, and the store commits in the same order. So
what the plane knows is always what a prefix of the stream says, and a batch is acknowledged only when its events and
all that followed from them are durable in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.ingest.deeds import Deeds, Told
from controlplane.ingest.precedence import Precedence
from controlplane.model import Agent, HostKey, ResponseWanted
from controlplane.model.changes import Changes
from controlplane.store import convert, schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import event_pb2, sensor_service_pb2

_log = logs.get("ingest")
TURN_S = 0.002
"""Seconds that events may go through the pipeline without a break, so that calls and other streams get their turn: a stop
takes a dozen turns."""
FEWEST, MOST = 25, 1000
"""Events of one turn."""
REST_AFTER_S, REST_S = 0.01, 0.001
"""Seconds of work after which intake pauses, and for how long: the plane runs before others, and leaves them some."""


Apply = Callable[[HostKey, Sequence[event_pb2.Event]], Changes]
CarryOut = Callable[[ResponseWanted], Awaitable[None]]
Ended = Callable[[Sequence[Agent]], Awaitable[None]]


class Intake:
    """Takes batches of all streams."""

    def __init__(
        self, store: Store, apply: Apply, carry_out: CarryOut, ended: Ended, deeds: Deeds, precedence: Precedence
    ) -> None:
        """
        Args:
            apply: the pipeline: pure, in memory, on the loop.
            carry_out: does a response; runs as a task of its own after its alert is durable.
            ended: is told of agents whose end is durable.
            deeds: audits what was done at a sensor without the plane.
            precedence: holds batches back while a stop is under way.
        """
        self._precedence = precedence
        self._deeds = deeds
        self._ended = ended
        self._store = store
        self._apply = apply
        self._carry_out = carry_out
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._chunk = FEWEST * 4
        self._rested = 0.0

    async def take(self, number: int, host: HostKey, batch: sensor_service_pb2.Batch) -> asyncio.Future[int]:
        """Bring a batch in; the future is done when it is durable (which can take long), and fails only with the writer.

        Args:
            number: the boot's number in the store.

        Raises:
            StoreUnavailable: too much waits for the disk; nothing of the batch was taken, or a first part of it, which
                counts as seen when the batch comes again.
        """
        events = batch.events
        start = 0
        while True:
            await self._precedence.turn()
            await self._store.writer.room()
            part = events[start : start + self._chunk]
            start += len(part)
            last = start >= len(events)
            told = await self._deeds.look(host, part)
            begin = self._loop.time()
            done = self._submit(number, host, part, batch.sequence if last else 0, told)
            await self._pause(len(part), begin)
            if last:
                return done

    async def _pause(self, events: int, begin: float) -> None:
        """After a turn: give others theirs, and make the next as large as TURN_S allows."""
        now = self._loop.time()
        if events >= self._chunk or now - begin > TURN_S:
            wanted = int(self._chunk * min(2.0, max(0.5, TURN_S / max(now - begin, 1e-6))))
            self._chunk = min(MOST, max(FEWEST, wanted))
        if now - self._rested < REST_AFTER_S:
            await asyncio.sleep(0)
            return
        await asyncio.sleep(REST_S)
        self._rested = self._loop.time()

    def _submit(
        self,
        number: int,
        host: HostKey,
        events: Sequence[event_pb2.Event],
        acknowledged: int,
        told: Sequence[Told],
    ) -> asyncio.Future[int]:
        return self.store(number, host, self._apply(host, events), acknowledged, told)

    def store(
        self, number: int, host: HostKey, changes: Changes, acknowledged: int = 0, told: Sequence[Told] = ()
    ) -> asyncio.Future[int]:
        """Make changes durable, and have their responses carried out after that."""
        write = Write(number, host.clock_offset_ns, acknowledged, changes.events)
        rows = write.rows
        for agent in changes.agents:
            rows.put(schema.agents, convert.agent_row(agent, number))
        for process in changes.processes:
            rows.put(schema.processes, convert.process_row(process, number))
        for flow in changes.flows:
            rows.put(schema.flows, convert.flow_row(flow, number))
        alerts = [convert.alert(alert) for alert in changes.alerts]
        for alert in alerts:
            rows.put(schema.alerts, convert.alert_row(alert))
        write.alerts = alerts
        write.patient = not (changes.prompt or changes.alert_of or changes.responses or told)
        for epoch, cpu, state in changes.seen:
            rows.put(schema.seen, {"boot": number, "epoch": epoch, "cpu": cpu, "state": state})
        if told:
            self._deeds.keep(told, changes.events, write)
        done = self._store.writer.submit(write)
        ended = [agent for agent in changes.agents if agent.ended]
        if changes.responses or ended:
            task = asyncio.create_task(self._respond(done, changes.responses, ended), name="respond")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return done

    async def stop(self) -> None:
        """Give up on responses that are still under way: they are wanted again after a restart."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _respond(
        self, done: asyncio.Future[int], wanted: Sequence[ResponseWanted], ended: Sequence[Agent]
    ) -> None:
        try:
            await asyncio.shield(done)
        except StoreUnavailable:  # the writer has died, and the plane with it: its next start asks again
            return
        if ended:
            await self._ended(ended)
        for one in wanted:
            try:
                await self._carry_out(one)
            except Exception:  # noqa: BLE001 - one response that fails must not stop the next one
                _log.exception("response failed", agent=one.agent_id, response=one.id)
