"""A real plane on a real Unix socket with a real database, and a sensor that the test plays."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from controlplane.policy import Rule
from controlplane.server import Plane
from controlplane.settings import Settings
from rubicon.v1 import (
    agent_service_pb2_grpc,
    alert_service_pb2_grpc,
    audit_service_pb2_grpc,
    coverage_pb2,
    coverage_service_pb2_grpc,
    event_pb2,
    event_service_pb2_grpc,
    policy_service_pb2_grpc,
    response_service_pb2_grpc,
    sensor_service_pb2,
    sensor_service_pb2_grpc,
    tokens,
)
from rubicon.v1.audit_chain import parse
from tests.controlplane.builders import HOST

Request = sensor_service_pb2.ConnectRequest
Down = sensor_service_pb2.ConnectResponse
VERSION = "0.1.0"


def reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo's reason; also holds that there is one, of our domain, with a hint."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "rubicon"
    assert info.metadata["hint"]
    return str(info.reason)


class Stage:
    """Start and stop planes in a folder; make calls as whom you like."""

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        rules: Sequence[Rule] = (),
        minute: float = 60.0,
    ) -> None:
        self.folder = folder
        self.rules = rules
        self.minute = minute
        self.key = secrets.token_bytes(32)
        self.settings = settings
        self.socket = folder / "plane.sock"
        self._channels: list[grpc.aio.Channel] = []
        self.links: list[Link] = []

    async def start(self) -> Stage:
        self.plane = Plane(self.socket, self.folder / "store", self.key, self.settings, lambda: self.rules, self.minute)
        await self.plane.start()
        return self

    async def stop(self) -> None:
        for link in self.links:
            await link.close()
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        self.links.clear()
        await self.plane.stop()

    def token(self, audience: Any = "api", uid: int = 0, pid: int = 4242, start: int = 99, **facts: Any) -> str:
        claims: dict[str, Any] = {"host": HOST.host, "boot_id": HOST.boot_id, **facts}
        return tokens.issue(self.key, uid=uid, pid=pid, start_time=start, audience=audience, **claims)

    def channel(self) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(f"unix:{self.socket}", options=options)
        self._channels.append(channel)
        return channel

    def api(self, **who: Any) -> Api:
        return Api(self.channel(), (("authorization", f"Bearer {self.token(**who)}"),))

    async def audited(self, *, noted: bool = False) -> list[dict[str, Any]]:
        """What the audit says of everybody but, unless asked for, the plane itself; oldest first."""
        await self.plane.audit.settle()
        bodies = [parse(bytes(row.body)) for row in self.plane.store.audit.run(0, 10_000)]
        return [body for body in bodies if noted or body["phase"] != "noted"]

    async def connect(self, **facts: Any) -> Link:
        """A sensor whose hello was answered."""
        link = Link(self, **facts)
        self.links.append(link)
        await link.greet()
        return link

    async def __aenter__(self) -> Stage:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        await self.stop()


class Api:
    """Stubs that send a token with each call."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata
        self._stubs = [
            stub(channel)
            for stub in (
                agent_service_pb2_grpc.AgentServiceStub,
                alert_service_pb2_grpc.AlertServiceStub,
                audit_service_pb2_grpc.AuditServiceStub,
                event_service_pb2_grpc.EventServiceStub,
                response_service_pb2_grpc.ResponseServiceStub,
                coverage_service_pb2_grpc.CoverageServiceStub,
                policy_service_pb2_grpc.PolicyServiceStub,
            )
        ]

    def __getattr__(self, method: str) -> Callable[[Any], Any]:
        for stub in self._stubs:
            if hasattr(stub, method):
                call = getattr(stub, method)
                return lambda request: call(request, metadata=self._metadata, timeout=20)
        raise AttributeError(method)


class Link:
    """A sensor's stream."""

    def __init__(self, stage: Stage, **facts: Any) -> None:
        self.pid = facts.pop("pid", 500)
        self.welcome = sensor_service_pb2.Welcome()
        token = facts.pop("token", None) or stage.token("sensor", pid=self.pid)
        self.hello = sensor_service_pb2.Hello(
            **{
                "host": HOST.host,
                "boot_id": HOST.boot_id,
                "kernel": "6.18",
                "version": VERSION,
                "clock_offset_ns": HOST.clock_offset_ns,
                "first_sequence": 1,
                "coverage": coverage_pb2.Coverage(kernel="6.18", loader="libbpf"),
                "capabilities": ["enrol", "kill", "finish", "probe"],
                **facts,
            }
        )
        stub = sensor_service_pb2_grpc.SensorServiceStub(stage.channel())
        self.call = stub.Connect(metadata=(("authorization", f"Bearer {token}"),))
        self.acked = 0
        self.commands: asyncio.Queue[sensor_service_pb2.Command] = asyncio.Queue()
        self._moved = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._sequence = self.hello.first_sequence - 1

    async def greet(self) -> None:
        await self.call.write(Request(hello=self.hello))
        first = await self.call.read()
        if first is grpc.aio.EOF:
            await self.fail()
        assert first.HasField("welcome"), f"welcome comes first, not {first.WhichOneof('kind')}"
        self.welcome = first.welcome
        self._reader = asyncio.create_task(self._read())

    async def fail(self) -> None:
        """Raise the status with which the plane ended the stream."""
        raise grpc.aio.AioRpcError(
            await self.call.code(),
            await self.call.initial_metadata(),
            await self.call.trailing_metadata(),
            await self.call.details(),
        )

    async def _read(self) -> None:
        try:
            while (message := await self.call.read()) is not grpc.aio.EOF:
                if message.HasField("ack"):
                    self.acked = message.ack.sequence
                elif message.HasField("command"):
                    self.commands.put_nowait(message.command)
                self._moved.set()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass
        self._moved.set()

    async def send(self, events: Sequence[event_pb2.Event], sequence: int = 0) -> int:
        """A batch; returns its sequence."""
        self._sequence = sequence or self._sequence + 1
        batch = sensor_service_pb2.Batch(sequence=self._sequence, events=events, clock_offset_ns=HOST.clock_offset_ns)
        await self.call.write(Request(batch=batch))
        return self._sequence

    async def deliver(self, events: Sequence[event_pb2.Event], sequence: int = 0) -> None:
        """A batch, and wait until it is acknowledged."""
        await self.acknowledged(await self.send(events, sequence))

    async def acknowledged(self, sequence: int) -> None:
        async with asyncio.timeout(10):
            while self.acked < sequence:
                if self._reader is not None and self._reader.done():
                    await self.fail()
                self._moved.clear()
                await self._moved.wait()

    async def answer(
        self, work: Callable[[sensor_service_pb2.Command], Awaitable[sensor_service_pb2.CommandResult]]
    ) -> sensor_service_pb2.Command:
        """Take one command, do it, send the result up."""
        async with asyncio.timeout(10):
            command = await self.commands.get()
        result = await work(command)
        result.id = command.id
        await self.call.write(Request(result=result))
        return command

    async def ended(self) -> None:
        """Wait until the plane has ended the stream, then raise its status."""
        async with asyncio.timeout(10):
            if self._reader is not None:
                await self._reader
        await self.fail()

    async def close(self) -> None:
        self.call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)


async def until(true: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until something is true."""
    try:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None
