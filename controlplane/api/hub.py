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
from controlplane.store.writer import Write
from rubicon.v1 import alert_pb2


class Watch:
    """One watcher of alerts."""

    def __init__(self, limit: int) -> None:
        self._queue: asyncio.Queue[alert_pb2.Alert | None] = asyncio.Queue(limit)
        self._over = False

    def offer(self, alert: alert_pb2.Alert) -> None:
        """Put an alert in, or mark the watcher as too slow."""
        if self._over:
            return
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            self._over = True

    def close(self) -> None:
        """The plane stops."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[alert_pb2.Alert]:
        while True:
            if self._over and self._queue.empty():
                raise TooSlow(f"more than {self._queue.maxsize} alerts waited for this watcher")
            alert = await self._queue.get()
            if alert is None:
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
        if write.events:
            self._moved.set()
            self._moved = asyncio.Event()
        if self._watches:
            for alert in write.alerts:
                for watch in self._watches:
                    watch.offer(alert)

    def moved(self) -> asyncio.Event:
        """Will be set when there are newer events than now; take it before reading what there is."""
        return self._moved

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watch]:
        """Alerts from now on.

        Raises:
            TooSlow: there are as many watchers as the plane serves.
        """
        with self.follow():
            watch = Watch(self._settings.queue)
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
