"""SensorService: one stream a sensor. Hello first, then batches and results up, acknowledgements and commands down.

Exact handling of what can be wrong:

* the first message is no hello, or a second hello comes: INVALID_ARGUMENT;
* the token's host or boot is not the hello's: HOST_MISMATCH; another sensor of the host lives: SENSOR_DUPLICATE;
* a batch comes again, or late: its records are dropped by identity where they are known, and the acknowledgement
  stays at the highest sequence that is durable; a jump forward is what a spool that had to drop leaves (its loss is
  reported in-band as an event), and is logged;
* a record says what cannot be (check.py): INVALID_ARGUMENT, before anything of its batch is taken;
* a message that is no protobuf, or above the size limit, ends the call in grpc itself, before anything is taken;
* the store cannot be written: nothing is acknowledged and the stream ends with STORE_UNAVAILABLE; the sensor keeps its
  spool and comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from importlib.metadata import version as installed_version
from typing import Any

from controlplane import logs
from controlplane.audit.audit import caller
from controlplane.errors import HostMismatch, InvalidArgument, StoreUnavailable
from controlplane.ingest import check
from controlplane.ingest.intake import Intake
from controlplane.ingest.sensors import Sensor, Sensors
from controlplane.ingest.stream import Backlog, Stream
from controlplane.model import Boot, Changes, HostKey
from controlplane.store.store import Store
from rubicon.v1 import sensor_service_pb2, sensor_service_pb2_grpc

_log = logs.get("ingest")
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
VERSION = installed_version("rubicon")
SLACK_NS = 5_000_000_000
"""Nanoseconds by which a boot's clock offset may differ from another's and still be the same boot's, corrected."""
HELLO_WITHIN = 10.0
"""Seconds that a stream may take to say hello."""

Connected = Callable[[HostKey, int], Iterable[tuple[HostKey, Changes]]]
Requests = AsyncIterator[sensor_service_pb2.ConnectRequest]


class SensorServicer(sensor_service_pb2_grpc.SensorServiceServicer):
    """The servicer; knows the live streams through `sensors`."""

    def __init__(self, store: Store, intake: Intake, sensors: Sensors, connected: Connected, give_up: float) -> None:
        """
        Args:
            connected: the pipeline: told of a host's boot, says what of its earlier boots is over by that.
            give_up: seconds after which a batch that is not durable ends its stream.
        """
        self._store = store
        self._intake = intake
        self._sensors = sensors
        self._connected = connected
        self._give_up = give_up

    # The stubs know only generators; grpc.aio also takes a coroutine that writes, which can read and write at once.
    async def Connect(  # type: ignore[override]  # noqa: N802 - gRPC's name
        self, request_iterator: Requests, context: Any
    ) -> None:
        """One stream, until either side ends it."""
        hello = await self._hello(request_iterator)
        boot = Boot(hello.host, hello.boot_id)
        if self._store.writer.failure is not None:
            raise self._store.writer.failure
        stream = Stream(context)
        claims = caller.get()
        sensor = Sensor(
            boot,
            (claims.pid, claims.start_time),
            stream.send,
            stream.stop.set,
            hello.coverage,
            frozenset(hello.capabilities),
            hello.version,
        )
        await self._sensors.add(sensor)
        try:
            number, acknowledged = await self._store.remember(boot, hello.clock_offset_ns, sensor.coverage)
            # What an earlier boot left comes under the present clock offset; only a clearly earlier boot is over.
            here = HostKey(hello.host, hello.boot_id, hello.clock_offset_ns - SLACK_NS)
            for stream_before, changes in self._connected(here, time.time_ns()):
                self._intake.store(self._store.number(stream_before.boot), stream_before, changes)
            # A spool that was begun anew counts from 1 again. Claim only what it cannot have: anything else is sent
            # once more and dropped by record identity.
            known = min(acknowledged, max(0, hello.first_sequence - 1))
            welcome = sensor_service_pb2.Welcome(acknowledged=known, version=VERSION)
            stream.greet(sensor_service_pb2.ConnectResponse(welcome=welcome))
            _log.info("sensor connected", host=boot.host, boot=boot.boot_id, kernel=hello.kernel, version=hello.version)
            await self._serve(stream, sensor, number, hello, request_iterator)
        finally:
            self._sensors.remove(sensor)
            _log.info("sensor gone", host=boot.host)

    async def _hello(self, requests: Requests) -> sensor_service_pb2.Hello:
        try:
            async with asyncio.timeout(HELLO_WITHIN):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration):
            raise InvalidArgument("a stream begins with hello") from None
        if first.WhichOneof("kind") != "hello":
            raise InvalidArgument("a stream begins with hello")
        hello = first.hello
        claims = caller.get()
        if not hello.host or len(hello.host) > 253:
            raise InvalidArgument("hello names no host, or a longer one than 253 characters")
        if not _BOOT_ID.fullmatch(hello.boot_id):
            raise InvalidArgument("hello.boot_id is not what /proc/sys/kernel/random/boot_id reads")
        if hello.version.split(".")[0] != VERSION.split(".")[0]:
            raise InvalidArgument(
                f"sensor version {hello.version or 'unknown'} does not fit plane version {VERSION}",
                "install the same version of both",
            )
        check.offset(hello.clock_offset_ns)
        if hello.host != claims.host:
            raise HostMismatch(f"the token is for host {claims.host}, hello says {hello.host}")
        if hello.boot_id != claims.boot_id:
            raise HostMismatch(f"the token is for boot {claims.boot_id}, hello says {hello.boot_id}")
        return hello

    async def _serve(
        self, stream: Stream, sensor: Sensor, number: int, hello: sensor_service_pb2.Hello, requests: Requests
    ) -> None:
        """Run reader, sender and watchdog; the first that ends, ends all."""
        backlog = Backlog()
        taker = asyncio.create_task(self._take(stream, backlog, number, hello), name="sensor-take")
        reader = asyncio.create_task(self._read(backlog, sensor, hello, requests), name="sensor-read")
        tasks = {
            taker,
            reader,
            asyncio.create_task(stream.run_sender(), name="sensor-send"),
            asyncio.create_task(stream.watch_acks(self._give_up, self._store), name="sensor-acks"),
            asyncio.create_task(stream.stop.wait(), name="sensor-stop"),
        }
        try:
            done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if done == {reader} and reader.exception() is None:
                # all is read; what it left in the backlog is still to be taken
                done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if taker in done:
                await stream.drain(self._give_up)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self, backlog: Backlog, sensor: Sensor, hello: sensor_service_pb2.Hello, requests: Requests
    ) -> None:
        """Results at once, whatever batches came before them: somebody waits for a stop. Batches in their order."""
        async for request in requests:
            kind = request.WhichOneof("kind")
            if kind == "batch":
                await backlog.put(request.batch)
            elif kind == "result":
                if not self._sensors.answer(sensor, request.result):
                    _log.warning("result that nobody waits for", host=hello.host, command=request.result.id)
            elif kind == "coverage":
                self._sensors.cover(sensor, request.coverage)
                with contextlib.suppress(StoreUnavailable):
                    await self._store.remember(sensor.boot, hello.clock_offset_ns, sensor.coverage)
            else:
                raise InvalidArgument(f"a stream that stands does not say {kind or 'nothing'}")
        backlog.end()

    async def _take(self, stream: Stream, backlog: Backlog, number: int, hello: sensor_service_pb2.Hello) -> None:
        highest = max(0, hello.first_sequence - 1)
        host = HostKey(hello.host, hello.boot_id, hello.clock_offset_ns)
        async for batch in backlog:
            if not batch.sequence:
                raise InvalidArgument("batch.sequence counts from 1")
            if batch.sequence != highest + 1:
                _log.warning("batch out of order", host=hello.host, sequence=batch.sequence, after=highest)
            highest = max(highest, batch.sequence)
            check.events(batch.events)
            now = check.offset(batch.clock_offset_ns) or hello.clock_offset_ns
            host = host._replace(clock_offset_ns=now)
            stream.acknowledge(await self._intake.take(number, host, batch), highest)
