"""A real plane in a folder of the test's own, its sensor played by the test, and the command line in this process.

The plane runs in a thread of its own, because the client blocks. Nothing needs root: an instance is given whose folders
are the test's. The sensor's part is small: it attests (with the plane's key, as the real one does) and obeys
commands from the plane. What a real host does is in tests/e2e.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rubicon.v1 import event_pb2, response_pb2, sensor_service_pb2
from rubicon.v1.instance import Instance
from tests.controlplane.builders import Kernel
from tests.controlplane.stage import Link, Stage

T = TypeVar("T")
Command = sensor_service_pb2.Command
Result = sensor_service_pb2.CommandResult
Obey = Callable[[Command], Awaitable[Result]]


class FolderInstance(Instance):
    """An instance that lives in one folder; its name is the folder's path."""

    __slots__ = ()

    @property
    def run_dir(self) -> Path:
        return Path(self.name)

    @property
    def state_dir(self) -> Path:
        return Path(self.name)


@dataclass
class LocalSensor:
    """The local socket: who asks gets a token for `uid`, or whatever `answers` has for an op."""

    stage: Stage
    path: Path
    uid: int = 0
    ttl: float = 60.0
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        self.asked.append(request)
        answer = self.answers.get(request["op"]) or self._attest()
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    def _attest(self) -> dict[str, Any]:
        token = self.stage.token(uid=self.uid, pid=os.getpid(), ttl=self.ttl)
        return {"ok": True, "token": token, "expires_at": time.time() + self.ttl, "host": "rome", "boot_id": "b"}


class World:
    """What a test holds; everything it does returns when it is done."""

    def __init__(self, folder: Path) -> None:
        self.instance = FolderInstance(str(folder))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world")
        self._thread.start()
        self.stage = Stage(folder)
        self.local = LocalSensor(self.stage, self.instance.sensor_socket)
        self.commands: list[Command] = []
        self.obey: Obey = self._obedient
        self.link: Link | None = None
        self._obeying: asyncio.Task[None] | None = None
        self.run(self.stage.start())
        self.run(self.local.start())

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 20) -> T:
        """Do something in the plane's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def connect(self, **facts: Any) -> Link:
        """Let the sensor connect; it obeys from now on."""

        async def connect() -> Link:
            link = await self.stage.connect(**facts)
            self._obeying = asyncio.create_task(self._obey(link))
            return link

        self.link = self.run(connect())
        return self.link

    async def _obedient(self, command: Command) -> Result:
        """Ends whatever it is told to, and answers probes."""
        if command.HasField("probe"):
            assert self.link
            event = Kernel("", epoch=80).event(None, probe=event_pb2.Probe(token=command.probe.token))
            await self.link.send([event])
            return Result()
        done = response_pb2.Response(
            state=response_pb2.RESPONSE_STATE_VERIFIED,
            killed=2,
            elapsed_ns=7_250_000,
            steps=["condemned", "cgroup.kill"],
        )
        return Result(response=done)

    async def _obey(self, link: Link) -> None:
        async def note(command: Command) -> Result:
            self.commands.append(command)
            return await self.obey(command)

        while True:
            command = await link.commands.get()
            result = await note(command)
            result.id = command.id
            await link.call.write(sensor_service_pb2.ConnectRequest(result=result))

    def deliver(self, events: Sequence[event_pb2.Event]) -> None:
        """Events from the sensor, stored when this returns."""
        link = self.link or self.connect()
        self.run(link.deliver(events))

    def disconnect(self) -> None:
        """The sensor goes away."""

        async def disconnect() -> None:
            if self._obeying:
                self._obeying.cancel()
                await asyncio.gather(self._obeying, return_exceptions=True)
                self._obeying = None
            if self.link:
                await self.link.close()

        self.run(disconnect())
        self.link = None

    def stop_plane(self) -> None:
        """The plane ends in order; its sensor loses its stream."""
        self.disconnect()
        self.run(self.stage.stop())

    def start_plane(self) -> None:
        """It comes back with the same key and store."""
        self.run(self.stage.start())

    def close(self) -> None:
        self.stop_plane()
        self.run(self.local.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
