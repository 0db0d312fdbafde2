"""Tells watchers what has become durable.

Followers of events need no queue: they wait for the store's head to move and read on from where they are, so a slow one
only lags (and gRPC's flow control holds it back). Watchers of alerts have a bounded queue each; one that does not
keep up is told so with RESOURCE_EXHAUSTED, and never makes the plane grow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

from controlplane.errors import StoreUnavailable, TooSlow
from controlplane.settings import WatchSettings
from controlplane.store import schema
from controlplane.store.writer import Write
from rubicon.v1 import agent_pb2, alert_pb2, response_pb2

T = TypeVar("T")
ENDED = (agent_pb2.AGENT_STATE_FINISHED, agent_pb2.AGENT_STATE_KILLED)


class Watch(Generic[T]):
    """One watcher of alerts, or of responses; None among them: its agent has ended, or a response to it has changed."""

    def __init__(self, limit: int, agent_id: str, what: str) -> None:
        self._queue: asyncio.Queue[T | None] = asyncio.Queue(limit + 1)
        self._what = what
        self._limit = limit
        self._over = False
        self._closed = False
        self._touched = False
        self.agent_id = agent_id

    def offer(self, news: T) -> None:
        """Put one in, or mark the watcher as too slow."""
        if self._over:
            return
        if self.waiting >= self._limit:
            self._over = True
        else:
            self._queue.put_nowait(news)

    def touch(self) -> None:
        """Come round to look at the agent, behind what waits."""
        if not self._touched:
            self._touched = True
            self._queue.put_nowait(None)

    @property
    def waiting(self) -> int:
        """How many wait for the watcher."""
        return self._queue.qsize() - self._touched

    def close(self) -> None:
        """The plane stops."""
        self._closed = True
        self.touch()

    async def __aiter__(self) -> AsyncIterator[T | None]:
        while True:
            if self._over and self._queue.empty():
                raise TooSlow(f"more than {self._limit} {self._what} waited for this watcher")
            news = await self._queue.get()
            if news is None:
                self._touched = False
                if self._closed:
                    raise stopping()
            yield news


def stopping() -> StoreUnavailable:
    """What a watcher is told when the plane stops."""
    return StoreUnavailable("the plane is stopping", "watch again, with the last cursor, when it is back")


class Hub:
    """Register `published` as a listener of the store's writer."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._alerts: set[Watch[alert_pb2.Alert]] = set()
        self._responses: set[Watch[response_pb2.Response]] = set()
        self._moved = asyncio.Event()
        self.followers = 0
        self.turns = 0
        """Rises whenever an agent has ended, or a response has changed."""
        self.closed = False
        """The plane stops: followers end."""

    @property
    def _watches(self) -> list[Watch[Any]]:
        return [*self._alerts, *self._responses]

    def close(self) -> None:
        """Tell every watcher that the plane stops."""
        self.closed = True
        self._moved.set()
        for watch in self._watches:
            watch.close()

    def published(self, _: int, write: Write) -> None:
        """A write has become durable."""
        touched = {row["id"] for row in write.rows.of(schema.agents) if row["state"] in ENDED}
        touched |= {response.agent_id for response in write.responses}
        self.turns += bool(touched)
        if write.events or touched or len(write.rows.of(schema.agents)):
            self._moved.set()
            self._moved = asyncio.Event()
        for watch in self._alerts:
            for alert in write.alerts:
                watch.offer(alert)
        for response in write.responses:
            self.changed(response)
        for each in self._watches:
            if each.agent_id in touched:
                each.touch()

    def changed(self, response: response_pb2.Response) -> None:
        """A response has changed, in the store or (applied, not verified yet) on its host."""
        for watch in self._responses:
            watch.offer(response)

    def moved(self) -> asyncio.Event:
        """Will be set when there are newer events, or changed agents, than now; take it before reading what there is."""
        return self._moved

    @contextlib.contextmanager
    def watch_alerts(self, agent_id: str = "") -> Iterator[Watch[alert_pb2.Alert]]:
        """Alerts from now on.

        Args:
            agent_id: also come round when this agent has ended, or a response to it has changed.

        Raises:
            TooSlow: there are as many watchers as the plane serves.
        """
        with self._watch(self._alerts, Watch(self._settings.queue, agent_id, "alerts")) as watch:
            yield watch

    @contextlib.contextmanager
    def watch_responses(self, agent_id: str = "") -> Iterator[Watch[response_pb2.Response]]:
        """Responses, whenever one has changed, from now on. Arguments and errors: as watch_alerts."""
        with self._watch(self._responses, Watch(self._settings.queue, agent_id, "responses")) as watch:
            yield watch

    @contextlib.contextmanager
    def _watch(self, among: set[Watch[T]], watch: Watch[T]) -> Iterator[Watch[T]]:
        with self.follow():
            among.add(watch)
            try:
                yield watch
            finally:
                among.discard(watch)

    @contextlib.contextmanager
    def follow(self) -> Iterator[None]:
        """Count a watcher of any kind.

        Raises:
            TooSlow: there are as many watchers as the plane serves.
        """
        if self.followers >= self._settings.watchers:
            raise TooSlow(f"the plane serves {self._settings.watchers} watchers at once", "end another watch first")
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1
