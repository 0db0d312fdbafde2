"""Tells watchers what has become durable.

Followers of events need no queue: they wait for the store's head to move and read on from where they are, so a slow one
only lags (and gRPC's flow control holds it back). Watchers of alerts have a bounded queue each; one that does not
keep up is told so with RESOURCE_EXHAUSTED, and never makes the plane grow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from controlplane.errors import StoreUnavailable, TooSlow
from controlplane.settings import WatchSettings
from controlplane.store import schema
from controlplane.store.writer import Write
from rubicon.v1 import agent_pb2, alert_pb2

ENDED = (agent_pb2.AGENT_STATE_FINISHED, agent_pb2.AGENT_STATE_KILLED)


class Watch:
    """One watcher of alerts; None among them: its agent has ended, or a response to it has changed."""

    def __init__(self, limit: int, agent_id: str) -> None:
        self._queue: asyncio.Queue[alert_pb2.Alert | None] = asyncio.Queue(limit + 1)
        self._limit = limit
        self._over = False
        self._closed = False
        self._touched = False
        self.agent_id = agent_id

    def offer(self, alert: alert_pb2.Alert) -> None:
        """Put an alert in, or mark the watcher as too slow."""
        if self._over:
            return
        if self._queue.qsize() - self._touched >= self._limit:
            self._over = True
        else:
            self._queue.put_nowait(alert)

    def touch(self) -> None:
        """Come round to look at the agent, behind the alerts that wait."""
        if not self._touched:
            self._touched = True
            self._queue.put_nowait(None)

    def close(self) -> None:
        """The plane stops."""
        self._closed = True
        self.touch()

    async def __aiter__(self) -> AsyncIterator[alert_pb2.Alert | None]:
        while True:
            if self._over and self._queue.empty():
                raise TooSlow(f"more than {self._limit} alerts waited for this watcher")
            alert = await self._queue.get()
            if alert is None:
                self._touched = False
                if self._closed:
                    raise stopping()
            yield alert


def stopping() -> StoreUnavailable:
    """What a watcher is told when the plane stops."""
    return StoreUnavailable("the plane is stopping", "watch again, with the last cursor, when it is back")


class Hub:
    """Register `published` as a listener of the store's writer."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._watches: set[Watch] = set()
        self._moved = asyncio.Event()
        self.followers = 0
        self.turns = 0
        """Rises whenever an agent has ended, or a response has changed."""
        self.closed = False
        """The plane stops: followers end."""

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
        for watch in self._watches:
            for alert in write.alerts:
                watch.offer(alert)
            if watch.agent_id in touched:
                watch.touch()

    def moved(self) -> asyncio.Event:
        """Will be set when there are newer events, or changed agents, than now; take it before reading what there is."""
        return self._moved

    @contextlib.contextmanager
    def watch(self, agent_id: str = "") -> Iterator[Watch]:
        """Alerts from now on.

        Args:
            agent_id: also come round when this agent has ended, or a response to it has changed.

        Raises:
            TooSlow: there are as many watchers as the plane serves.
        """
        with self.follow():
            watch = Watch(self._settings.queue, agent_id)
            self._watches.add(watch)
            try:
                yield watch
            finally:
                self._watches.discard(watch)

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
