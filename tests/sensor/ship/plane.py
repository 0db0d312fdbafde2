"""A plane that speaks SensorService over a real socket: inside a test, or (as a script) in a process that can be
killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from rubicon.v1 import sensor_service_pb2, sensor_service_pb2_grpc

Answer = Callable[["Plane", sensor_service_pb2.ConnectRequest], Awaitable[list[sensor_service_pb2.ConnectResponse]]]


def welcome(acknowledged: int = 0) -> sensor_service_pb2.ConnectResponse:
    """Answer to hello."""
    return sensor_service_pb2.ConnectResponse(
        welcome=sensor_service_pb2.Welcome(acknowledged=acknowledged, version="test")
    )


def ack(sequence: int) -> sensor_service_pb2.ConnectResponse:
    """A batch is durable."""
    return sensor_service_pb2.ConnectResponse(ack=sensor_service_pb2.Ack(sequence=sequence))


def command(identity: str, token: str = "t") -> sensor_service_pb2.ConnectResponse:
    """Do something."""
    probe = sensor_service_pb2.ProbeCommand(token=token)
    return sensor_service_pb2.ConnectResponse(command=sensor_service_pb2.Command(id=identity, probe=probe))


class Plane(sensor_service_pb2_grpc.SensorServiceServicer):
    """Acknowledges every batch, unless `answer` says otherwise."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.hellos: list[sensor_service_pb2.Hello] = []
        self.batches: list[sensor_service_pb2.Batch] = []
        self.results: list[sensor_service_pb2.CommandResult] = []
        self.coverages: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.acknowledged = 0
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.outgoing: asyncio.Queue[sensor_service_pb2.ConnectResponse | None] = asyncio.Queue()
        self.server: grpc.aio.Server | None = None

    @property
    def numbers(self) -> list[int]:
        """Record numbers in the order in which they came."""
        return [event.record.sequence for batch in self.batches for event in batch.events]

    async def start(self, address: str, **options: int) -> None:
        """Listen."""
        self.server = grpc.aio.server(options=[(f"grpc.{key}", value) for key, value in options.items()])
        sensor_service_pb2_grpc.add_SensorServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(address)
        await self.server.start()

    async def stop(self) -> None:
        """Cut every stream at once."""
        if self.server is not None:
            await self.server.stop(0)
            self.server = None

    async def Connect(  # noqa: N802  # the name is the service's
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[sensor_service_pb2.ConnectResponse]:
        """The stream."""
        self.metadata.append(dict(context.invocation_metadata()))
        if self.refuse is not None:
            await _abort(context, *self.refuse)
        self.outgoing = asyncio.Queue()

        async def read() -> None:
            async for request in request_iterator:
                for response in await self.take(request):
                    await self.outgoing.put(response)
            await self.outgoing.put(None)

        reading = asyncio.create_task(read())
        try:
            while (response := await self.outgoing.get()) is not None:
                yield response
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def take(self, request: sensor_service_pb2.ConnectRequest) -> list[sensor_service_pb2.ConnectResponse]:
        """Note what came; the answers to it."""
        kind = request.WhichOneof("kind")
        if kind == "hello":
            if self.hellos and self.hellos[-1].boot_id != request.hello.boot_id:
                self.acknowledged = 0  # counted per boot
            self.hellos.append(request.hello)
        elif kind == "batch":
            self.batches.append(request.batch)
        elif kind == "result":
            self.results.append(request.result)
        elif kind == "coverage":
            self.coverages.append(request.coverage)
        if self.answer is not None:
            return await self.answer(self, request)
        return self.usual(request)

    def usual(self, request: sensor_service_pb2.ConnectRequest) -> list[sensor_service_pb2.ConnectResponse]:
        """What a plane answers when all is well."""
        kind = request.WhichOneof("kind")
        if kind == "batch":
            self.acknowledged = max(self.acknowledged, request.batch.sequence)
            return [ack(request.batch.sequence)]
        return [welcome(self.acknowledged)] if kind == "hello" else []


async def _abort(context: Any, code: grpc.StatusCode, reason: str) -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="rubicon"))
    status = status_pb2.Status(code=code.value[0], message="refused by the test", details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, "refused by the test")


async def _store(address: str, path: str) -> None:
    """Append each batch to a file, sync it, acknowledge it: until killed."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    stored = [int(word) for word in os.pread(fd, 1 << 26, 0).split() if not word.startswith(b"r")]

    async def answer(plane: Plane, request: sensor_service_pb2.ConnectRequest) -> list[Any]:
        if request.HasField("batch"):
            numbers = b" ".join(b"r%d" % event.record.sequence for event in request.batch.events)
            os.write(fd, b"%s %d\n" % (numbers, request.batch.sequence))
            os.fsync(fd)
        return plane.usual(request)

    plane = Plane(answer)
    plane.acknowledged = max(stored, default=0)
    await plane.start(address)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_store(sys.argv[1], sys.argv[2]))
