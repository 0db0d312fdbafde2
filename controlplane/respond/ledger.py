"""What a responder reads from and writes to the store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from controlplane import logs
from controlplane.errors import PlaneError, StoreUnavailable
from controlplane.model import Agent, Response
from controlplane.store import convert, schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import agent_pb2, process_pb2, response_pb2

_log = logs.get("respond")
LOOK_BACK = 100
"""Responses of an agent that are searched for the one that ended it."""


class Ledger:
    """Raises, from every method: StoreUnavailable, the database cannot be read or written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.watching: Callable[[response_pb2.Response], None] = lambda _: None
        """Is told of a response that is applied and not verified yet: nothing is lost with it, so it costs no write."""
        self._begun: dict[str, response_pb2.Response | None] = {}
        """Response whose request is not durable yet → it as applied, for who watches it once they know of the request."""
        self._applied: dict[str, response_pb2.Response] = {}
        """Those under way that a host said to be applied: nothing is lost with that either."""

    async def agent(self, text: str) -> agent_pb2.Agent | None:
        """By id, name or unique id prefix."""
        return await asyncio.to_thread(self._store.entities.agent, text)

    async def process(self, process: process_pb2.ProcessId) -> process_pb2.Process | None:
        """One process by its whole identity."""
        wanted = (process.pid, process.start_time_ns)
        for boot in await asyncio.to_thread(self._store.entities.boots):
            if process.host in ("", boot.host) and process.boot_id in ("", boot.boot_id):
                found = await asyncio.to_thread(self._store.entities.process, boot.id, *wanted)
                if found is not None:
                    return found
        return None

    async def responses(self, agent_id: str) -> list[response_pb2.Response]:
        """Responses to an agent, newest first."""
        return await asyncio.to_thread(self._store.entities.responses, agent_id=agent_id, limit=LOOK_BACK)

    async def save(self, response: Response, agent: Agent | None) -> response_pb2.Response:
        """Make a response, and the agent that it changed, durable in one transaction; watchers are told then."""
        return await self.keep(convert.response(response), agent)

    async def begin(self, message: response_pb2.Response, patience: float) -> None:
        """Make a request durable before a host hears of it; one that the disk keeps waiting follows its deed.

        Args:
            patience: seconds that the deed waits for the disk (a checkpoint, a lock, no room) at most.

        Raises:
            StoreUnavailable: it never becomes durable (the plane is stopping, its writer has died).
        """
        writing = self._submit(message, None)
        self._begun[message.id] = None
        writing.add_done_callback(functools.partial(self._durable, message.id))
        await asyncio.wait({writing}, timeout=patience)
        if writing.done():
            await writing

    def is_begun(self, response_id: str) -> bool:
        """The plane asked a host for it, and the request is not durable yet."""
        return response_id in self._begun

    def _durable(self, response_id: str, writing: asyncio.Future[int]) -> None:
        applied = self._begun.pop(response_id, None)
        if not writing.cancelled() and writing.exception() is None and applied is not None:
            self.watching(applied)

    def applied(self, message: response_pb2.Response, said: response_pb2.Response) -> None:
        """The host says that a response is done, and how; whoever watches learns it."""
        told = response_pb2.Response()
        told.CopyFrom(message)
        told.state = response_pb2.RESPONSE_STATE_APPLIED
        told.steps[:] = said.steps
        self._applied[message.id] = told
        if message.id in self._begun:
            self._begun[message.id] = told
        else:
            self.watching(told)

    def now(self, stored: response_pb2.Response) -> response_pb2.Response:
        """A response as it is at this moment: applied, where the store has it as requested still."""
        requested = stored.state == response_pb2.RESPONSE_STATE_REQUESTED
        return self._applied.get(stored.id, stored) if requested else stored

    async def done(self, message: response_pb2.Response, agent: Agent | None = None) -> response_pb2.Response:
        """Make durable what became of it, as keep() does.

        Raises:
            StoreUnavailable: it was done, and what became of it is not stored yet.
        """
        applied = self._begun.get(message.id)
        if applied is not None:
            self._begun[message.id] = None  # told together with this, since its request is not yet
        try:
            return await self.keep(message, agent, applied)
        except StoreUnavailable as error:
            state = response_pb2.ResponseState.Name(message.state).removeprefix("RESPONSE_STATE_").lower()
            raise StoreUnavailable(
                f"the host did it ({state}), and the record of it is not stored yet: {error.message}", error.hint
            ) from error
        finally:
            self._applied.pop(message.id, None)

    async def keep(
        self, message: response_pb2.Response, agent: Agent | None = None, before: response_pb2.Response | None = None
    ) -> response_pb2.Response:
        """Make a response durable as it is, as save() does.

        Args:
            before: what watchers are told first.

        Raises:
            StoreUnavailable: it is not yet. It waits its turn, as the next state of the same response would be: one that were
                withdrawn could leave an older state as the last.
        """
        await self._store.writer.wait(self._submit(message, agent, before))
        return message

    def _submit(
        self, message: response_pb2.Response, agent: Agent | None, before: response_pb2.Response | None = None
    ) -> asyncio.Future[int]:
        told = response_pb2.Response()  # watchers see it as it is now, whatever becomes of it
        told.CopyFrom(message)
        write = Write(responses=[before, told] if before is not None else [told])
        write.rows.put(schema.responses, convert.response_row(told))
        if agent is not None and agent.boot is not None:
            write.rows.put(schema.agents, convert.agent_row(agent, self._store.number(agent.boot)))
        # an agent's row must not overtake the batches that its counts come from
        return self._store.writer.submit(write, urgent=agent is None)

    async def fail(self, message: response_pb2.Response, error: PlaneError, wall_ns: int) -> None:
        """It could not be done, and is not tried again. That this is not stored is for the log: the caller learns `error`."""
        message.state = response_pb2.RESPONSE_STATE_FAILED
        message.error = error.in_words
        message.finished_at.CopyFrom(convert.stamp(wall_ns))
        try:
            await self.done(message)
        except StoreUnavailable as second:
            _log.error("failure not stored", response=message.id, error=str(second))

    async def give_up(self, message: response_pb2.Response, error: PlaneError, wall_ns: int) -> None:
        """It cannot be taken up again. Where only the database says so, the next start tries anew."""
        _log.warning("response not resumed", response=message.id, agent=message.agent_id, error=str(error))
        if not isinstance(error, StoreUnavailable):
            await self.fail(message, error, wall_ns)

    async def cancel_pending(self, agent: agent_pb2.Agent, reason: str, wall_ns: int) -> None:
        """Make KILLED of an agent that nothing was enrolled for."""
        agent.state = agent_pb2.AGENT_STATE_KILLED
        agent.reason = reason
        agent.ended_at.CopyFrom(convert.stamp(wall_ns))
        write = Write()
        write.rows.put(schema.agents, convert.agent_message_row(agent, 0))
        await self._store.writer.commit(write)
