"""What waits on one sensor's stream: batches that came up and are not taken in yet, and what is to be sent down."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from controlplane.errors import StoreUnavailable
from controlplane.store.store import Store
from rubicon.v1 import sensor_service_pb2

BACKLOG_BYTES = 5 << 20
"""Serialised bytes of batches that are read ahead: a little more than a sensor sends before an acknowledgement."""


class Backlog:
    """Batches in their order, read ahead of being taken in, so that a result behind them is read too. Bounded."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, sensor_service_pb2.Batch]] = deque()
        self._bytes = 0
        self._ended = False
        self._moved = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, batch: sensor_service_pb2.Batch) -> None:
        """Add one; returns when there is room for another."""
        size = batch.ByteSize()
        self._batches.append((size, batch))
        self._bytes += size
        self._moved.set()
        if self._bytes >= BACKLOG_BYTES:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._moved.set()

    async def __aiter__(self) -> AsyncIterator[sensor_service_pb2.Batch]:
        while True:
            while not self._batches:
                if self._ended:
                    return
                self._moved.clear()
                await self._moved.wait()
            size, batch = self._batches.popleft()
            self._bytes -= size
            if self._bytes < BACKLOG_BYTES:
                self._room.set()
            yield batch


class Stream:
    """The downward half of one stream: what waits to be sent, what waits to be acknowledged."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._out: deque[sensor_service_pb2.ConnectResponse] = deque()
        self._acked = 0
        self._told = 0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._unacked: deque[tuple[float, asyncio.Future[int]]] = deque()
        self._waiting = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()

    def send(self, message: sensor_service_pb2.ConnectResponse) -> None:
        self._out.append(message)
        self._idle.clear()
        self._news.set()

    def greet(self, message: sensor_service_pb2.ConnectResponse) -> None:
        """The first message, before the sender runs: commands that came meanwhile wait behind it."""
        self._out.appendleft(message)
        self._idle.clear()
        self._news.set()

    def acknowledge(self, done: asyncio.Future[int], sequence: int) -> None:
        """Acknowledge `sequence` once `done`; acknowledgements that pile up are sent as one."""

        def durable(done: asyncio.Future[int]) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            self._acked = max(self._acked, sequence)
            self._idle.clear()
            self._news.set()

        done.add_done_callback(durable)
        self._unacked.append((self._loop.time(), done))
        self._waiting.set()

    async def run_sender(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._out:
                await self._context.write(self._out.popleft())
            if self._acked > self._told:
                self._told = self._acked
                ack = sensor_service_pb2.Ack(sequence=self._told)
                await self._context.write(sensor_service_pb2.ConnectResponse(ack=ack))
            if not self._news.is_set():
                self._idle.set()

    async def watch_acks(self, give_up: float, store: Store) -> None:
        """End the stream when a batch is not durable `give_up` seconds after it came.

        Raises:
            StoreUnavailable: that happened.
        """
        while True:
            while not self._unacked:
                self._waiting.clear()
                await self._waiting.wait()
            since, done = self._unacked[0]
            if not done.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(since + give_up):
                        await asyncio.shield(done)
            if not done.done():
                raise store.writer.failure or StoreUnavailable("the store did not take a batch in time")
            done.result()
            self._unacked.popleft()

    async def drain(self, give_up: float) -> None:
        """The sensor said all it had: tell it what is still to be acknowledged."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(give_up):
                for _, done in list(self._unacked):
                    await asyncio.shield(done)
                await asyncio.sleep(0)
                await self._idle.wait()
