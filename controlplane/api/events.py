"""EventService: history by cursor, then live, from one source, so without a gap and without a duplicate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

from controlplane.api import find, mask, paging
from controlplane.api.ending import Ending
from controlplane.api.hub import Hub, stopping
from controlplane.errors import InvalidArgument
from controlplane.store import convert
from controlplane.store.events import Query, Stored
from controlplane.store.segments import KINDS
from controlplane.store.store import Store
from rubicon.v1 import agent_pb2, event_pb2, event_service_pb2, event_service_pb2_grpc

T = TypeVar("T")
_LINGER = 2.0
"""Seconds for which an agent's connections may still be closing when it has ended; its sensor looks for one."""
_MOST = 500
"""Events in one message, as event_service.proto promises."""


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    """Events, past and live."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def StreamEvents(  # noqa: N802
        self, request: event_service_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[event_service_pb2.StreamEventsResponse]:
        """Where one agent is followed, the agent itself once it has ended, and nothing after it.

        Raises: AgentNotFound, InvalidArgument, CursorInvalid; TooSlow when there are too many watchers.
        """
        query = Query(
            agents=await find.agent_ids(self._store, request.agent),
            kinds=frozenset(request.kinds),
            pid=request.pid,
            since_ns=convert.nanoseconds(request.since),
            until_ns=convert.nanoseconds(request.until),
        )
        unknown = sorted(query.kinds - KINDS.keys())
        if unknown:
            raise InvalidArgument(
                f"there is no kind of event {unknown[0]!r}", f"use some of {', '.join(sorted(KINDS))}"
            )
        at = 0
        if request.cursor:
            first, _ = await asyncio.to_thread(self._store.events.bounds)
            at = paging.parse_cursor(request.cursor, first, self._store.writer.head)
        ending = Ending(self._store, next(iter(query.agents)), _LINGER) if request.follow and query.agents else None
        agent: agent_pb2.Agent | None = None
        pause: float | None = None
        turns = -1
        with self._hub.follow():
            while True:
                moved = self._hub.moved()
                if ending is not None and (turns != self._hub.turns or pause is not None):
                    turns = self._hub.turns
                    agent, pause = await ending.over()
                head = self._store.writer.head
                async for hits in _in_thread(self._store.events.read(query, at, head)):
                    for start in range(0, len(hits), _MOST):
                        yield self._response(hits[start : start + _MOST], request.show_secrets)
                at = head
                if agent is not None:
                    yield event_service_pb2.StreamEventsResponse(ended=mask.agent(agent))
                if agent is not None or not request.follow:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await moved.wait()
                if self._hub.closed:
                    raise stopping()

    def _response(self, hits: list[Stored], show_secrets: bool) -> event_service_pb2.StreamEventsResponse:
        response = event_service_pb2.StreamEventsResponse()
        for stored in hits:
            boot = self._store.boot(stored.boot)
            response.events.append(
                event_pb2.StoredEvent(
                    host=boot.host,
                    boot_id=boot.boot_id,
                    time=convert.stamp(stored.event.time_ns + stored.clock_offset_ns),
                    cursor=paging.cursor(stored.position),
                    event=stored.event if show_secrets else mask.event(stored.event),
                )
            )
        return response


async def _in_thread(blocking: Iterator[T]) -> AsyncIterator[T]:
    """Items of a blocking iterator, one at a time; it never runs in two threads at once."""
    end = object()
    while (item := await asyncio.to_thread(next, blocking, end)) is not end:
        yield item  # type: ignore[misc]
