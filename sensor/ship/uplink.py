"""The stream to the plane: hello, then batches up and acknowledgements down, commands down and results up.

The sensor opens it and opens it again for as long as it lives. Nothing here can stop collection: batches wait in the
spool, and after every welcome all that is not acknowledged is sent again; the plane drops what it knows by record
identity."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from rubicon.v1 import coverage_pb2, sensor_service_pb2
from sensor.errors import SpoolFull
from sensor.ship.backoff import Backoff
from sensor.ship.batch import request_bytes
from sensor.ship.commands import Commands, Handler
from sensor.ship.reader import SpoolReader
from sensor.ship.refusal import refusal
from sensor.ship.spool import Spool

METHOD = "/rubicon.v1.SensorService/Connect"
WINDOW_BATCHES = 64
WINDOW_BYTES = 4 << 20
"""Sent and not acknowledged, at most: enough to keep a store that commits in groups busy, and little to send twice."""
STRIKES = 2
"""Streams that the plane ends over the same oldest batch before batches are sent one by one to find the culprit."""
FINAL = ("HOST_MISMATCH", "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_ARGUMENT")
"""Refusals that do not pass by waiting."""
WELCOME_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A plane that acknowledges nothing for so long hangs: a new stream is tried."""
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.http2.bdp_probe", 0),  # as the plane's: controlplane/api/serving.py
)
_log = structlog.get_logger(part="uplink")


class _Stalled(Exception):
    """The plane is there and does not do its part."""


class Uplink:
    """Runs in one event loop. `state` is "connecting", "connected" or "waiting"."""

    def __init__(
        self,
        target: str,
        spool: Spool,
        hello: Callable[[], sensor_service_pb2.Hello],
        handler: Handler,
        token: Callable[[], str] | None = None,
        on_welcome: Callable[[sensor_service_pb2.Welcome], Awaitable[None]] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Nothing happens before `run`.

        Args:
            target: gRPC target, e.g. "unix:/run/rubicon/plane.sock" or "plane.example:4317".
            spool: where batches come from.
            hello: made anew for each stream; first_sequence is filled in here.
            handler: runs one command; a SensorError that it raises becomes the command's result.
            token: a fresh token for each stream, sent as "authorization: Bearer TOKEN".
            on_welcome: awaited (beside the stream) after each welcome, e.g. to send a snapshot again.
            backoff: between attempts.
        """
        self._target = target
        self._spool = spool
        self._hello = hello
        self._token = token
        self._on_welcome = on_welcome
        self._backoff = backoff or Backoff()
        self._wake = asyncio.Event()
        self._commands = Commands(handler, self._wake.set)
        self._coverage: coverage_pb2.Coverage | None = None
        self._until_empty = False
        self._suspect = 0
        self._strikes = 0
        self._in_flight: deque[tuple[int, int]] = deque()
        self._bytes_in_flight = 0
        self._progress = 0.0
        self._welcomed: set[asyncio.Task[None]] = set()
        self.state = "connecting"
        self.last_error = ""

    def send_coverage(self, coverage: coverage_pb2.Coverage) -> None:
        """Send changed coverage on the present stream; a later stream has it in its hello anyway."""
        self._coverage = coverage
        self._wake.set()

    async def run_until_empty(self, refusals: int = 1) -> bool:
        """Ship what waits and return; False when the plane has refused the stream so often that it will never take
        it."""
        self._until_empty = True
        self._spool.subscribe(self._wake.set)
        try:
            while not self._empty:
                wait = await self._attempt()
                if self.last_error in FINAL and (refusals := refusals - 1) <= 0:
                    return False
                if not self._empty:
                    await asyncio.sleep(wait)
            return True
        finally:
            await self._commands.close()

    @property
    def _empty(self) -> bool:
        return self._spool.status().batches == 0

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        loop = asyncio.get_running_loop()

        def appended() -> None:
            # Called by the thread that appended, which may outlive this loop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake.set)

        self._spool.subscribe(appended)
        try:
            while True:
                wait = await self._attempt()
                self.state = "waiting"
                await asyncio.sleep(wait)
        finally:
            self.state = "waiting"
            for task in list(self._welcomed):
                task.cancel()
            await self._commands.close()

    async def _attempt(self) -> float:
        """One stream from hello to its end; seconds to wait before the next."""
        self.state = "connecting"
        at_least = 0.0
        try:
            async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
                await self._stream(channel)
            if not self._until_empty:
                self._note("ended", "the plane ended the stream", "reconnecting")
        except grpc.aio.AioRpcError as error:
            why = refusal(error)
            at_least = why.wait
            self._note(why.reason, why.message, why.action)
            self._blame(why.reason)
        except _Stalled as error:
            self._note("stalled", str(error), "reconnecting")
        except OSError as error:
            self._note("token", f"no token for the plane: {error}", "make the token key readable for the sensor")
            at_least = 1.0
        except Exception as error:  # noqa: BLE001  # a defect here must not end collection or the local kill
            self._note("defect", repr(error), "report this as a defect, with the sensor's log")
            _log.error("uplink_failed", error=repr(error), exc_info=True)
            at_least = 1.0
        return self._backoff.next(at_least)

    def _note(self, reason: str, message: str, action: str) -> None:
        # A plane that is down for an hour is one line, not a thousand.
        if reason != self.last_error:
            _log.warning("uplink_down", reason=reason, error=message, target=self._target, action=action)
        self.last_error = reason

    def _blame(self, reason: str) -> None:
        """The plane ended the stream over something we sent: find the batch, and do not let it hold up the others."""
        if reason != "INVALID_ARGUMENT" or not self._in_flight:
            return
        oldest = self._in_flight[0][0]
        self._strikes = self._strikes + 1 if oldest == self._suspect else 1
        self._suspect = oldest
        if self._strikes > STRIKES and len(self._in_flight) == 1:
            with contextlib.suppress(SpoolFull):
                self._spool.set_aside(oldest)
            self._strikes = 0

    # -- one stream ---------------------------------------------------------------------------------------------------

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        connect: Any = channel.stream_stream(
            METHOD,
            request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
            response_deserializer=sensor_service_pb2.ConnectResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {self._token()}"),) if self._token else None
        call = connect(metadata=metadata)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._greet(call)
            tasks = [asyncio.create_task(self._send(call)), asyncio.create_task(self._receive(call))]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                # A write or read that failed only says that the stream ended; the call's status says why.
                if (error := task.exception()) and not isinstance(error, grpc.RpcError | asyncio.InvalidStateError):
                    raise error
            if not (self._until_empty and self._empty):
                await self._raise_status(call)
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _greet(self, call: Any) -> None:
        hello = self._hello()
        hello.first_sequence = self._spool.first_sequence
        response = None
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                with contextlib.suppress(asyncio.InvalidStateError):
                    await call.write(sensor_service_pb2.ConnectRequest(hello=hello))
                response = await call.read()
        except TimeoutError:
            raise _Stalled(f"no welcome within {WELCOME_SECONDS:.0f} s") from None
        if response is grpc.aio.EOF:
            await self._raise_status(call)
            raise _Stalled("the plane ended the stream before a welcome")
        if not response.HasField("welcome"):
            raise _Stalled(f"the plane answered {response.WhichOneof('kind')} before a welcome")
        welcome = response.welcome
        self._acknowledge(welcome.acknowledged)
        self._commands.reconnected()
        self._coverage = None
        self._backoff.reset()
        self.state = "connected"
        self.last_error = ""
        _log.info("uplink_connected", target=self._target, acknowledged=welcome.acknowledged, plane=welcome.version)
        if self._on_welcome is not None:
            task = asyncio.create_task(self._call_welcome(welcome))
            self._welcomed.add(task)
            task.add_done_callback(self._welcomed.discard)

    async def _raise_status(self, call: Any) -> None:
        code = await call.code()
        if code != grpc.StatusCode.OK:
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            raise grpc.aio.AioRpcError(code, initial, trailing, await call.details())

    async def _call_welcome(self, welcome: sensor_service_pb2.Welcome) -> None:
        assert self._on_welcome is not None
        try:
            await self._on_welcome(welcome)
        except Exception as error:  # noqa: BLE001  # it is a listener's defect; the stream goes on
            _log.error("welcome_hook_failed", error=repr(error), exc_info=True)

    async def _send(self, call: Any) -> None:
        """Results and coverage first, then batches as far as the window allows."""
        self._in_flight.clear()
        self._bytes_in_flight = 0
        loop = asyncio.get_running_loop()
        reader = self._spool.reader(self._spool.acknowledged)
        try:
            while True:
                self._wake.clear()
                if (result := self._commands.peek()) is not None:
                    await call.write(sensor_service_pb2.ConnectRequest(result=result))
                    self._commands.sent(result)
                elif self._coverage is not None:
                    coverage, self._coverage = self._coverage, None
                    await call.write(sensor_service_pb2.ConnectRequest(coverage=coverage))
                elif (found := self._next(reader)) is not None:
                    sequence, data = found
                    if not self._in_flight:
                        self._progress = loop.time()
                    self._in_flight.append((sequence, len(data)))
                    self._bytes_in_flight += len(data)
                    await call.write(request_bytes(data))
                elif self._until_empty and self._empty:
                    return
                else:
                    await self._idle(loop)
        finally:
            reader.close()

    def _next(self, reader: SpoolReader) -> tuple[int, bytes] | None:
        window = 1 if self._strikes >= STRIKES else WINDOW_BATCHES
        if len(self._in_flight) >= window or self._bytes_in_flight >= WINDOW_BYTES:
            return None
        return reader.next()

    async def _idle(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._in_flight:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout_at(self._progress + STALL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            waiting = len(self._in_flight)
            raise _Stalled(f"{waiting} batches were not acknowledged within {STALL_SECONDS:.0f} s") from None

    async def _receive(self, call: Any) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            kind = response.WhichOneof("kind")
            if kind == "ack":
                self._acknowledge(response.ack.sequence)
            elif kind == "command":
                self._commands.start(response.command)
            else:
                _log.warning("uplink_unexpected", kind=kind)

    def _acknowledge(self, sequence: int) -> None:
        """Everything up to this is durable; a lower one than before says nothing new."""
        if sequence > self._spool.last_sequence:
            _log.error(
                "uplink_foreign_acknowledgement",
                sequence=sequence,
                last_sequence=self._spool.last_sequence,
                action="ignored: the spool never held it",
            )
            return
        self._spool.ack(sequence)
        moved = False
        while self._in_flight and self._in_flight[0][0] <= sequence:
            self._bytes_in_flight -= self._in_flight.popleft()[1]
            moved = True
        if moved:
            self._strikes = 0
            self._progress = asyncio.get_running_loop().time()
            self._wake.set()
