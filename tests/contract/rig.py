"""The real sensor's collecting and shipping half against the real plane; only the kernel's ring is played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from rubicon.v1 import coverage_pb2, sensor_service_pb2
from sensor.collect.collector import Collector
from sensor.collect.identity import SensorRecords
from sensor.errors import SensorError
from sensor.ship.backoff import Backoff
from sensor.ship.commands import Interim
from sensor.ship.spool import Spool
from sensor.ship.uplink import Uplink
from tests.controlplane.builders import HOST
from tests.controlplane.stage import VERSION, Stage
from tests.sensor.collect.ring import MemoryKernel

Handler = Callable[[sensor_service_pb2.Command], Awaitable[sensor_service_pb2.CommandResult]]


class HalfSensor:
    """Ring → collector → spool → uplink, as the daemon wires them."""

    def __init__(self, stage: Stage, folder: Path, kernel: MemoryKernel | None = None) -> None:
        self.stage = stage
        self.kernel = kernel or MemoryKernel()
        self.records = SensorRecords()
        self.spool = Spool(folder, self.records.stamp)
        self.collector = Collector(self.kernel, self.spool, self.records)
        self.commands: list[sensor_service_pb2.Command] = []
        self.handler: Handler = self._refuse
        self.uplink = Uplink(
            f"unix:{stage.socket}",
            self.spool,
            self._hello,
            self._handle,
            token=lambda: stage.token("sensor", pid=500),
            backoff=Backoff(first=0.02, cap=0.1),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> HalfSensor:
        self._tasks = [asyncio.create_task(self.collector.run()), asyncio.create_task(self.uplink.run())]
        return self

    async def stop(self) -> None:
        """What is in the ring and the spool stays there, as after a SIGKILL."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.spool.close()

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for the sensor's side of something; a part that died says why."""
        async with asyncio.timeout(20):
            while not true():
                for task in self._tasks:
                    assert not task.done(), f"{task} ended while waiting: {what}"
                await asyncio.sleep(0.01)

    async def delivered(self) -> None:
        """Everything in the ring is acknowledged by the plane."""
        await self.until(lambda: not self.kernel.ring.records, "the ring is committed")
        await self.until(lambda: self.spool.acknowledged >= self.spool.last_sequence, "the spool is acknowledged")

    async def _refuse(self, command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        raise SensorError("nothing was arranged for this command")

    async def _handle(self, command: sensor_service_pb2.Command, _: Interim) -> sensor_service_pb2.CommandResult:
        self.commands.append(command)
        return await self.handler(command)

    def _hello(self) -> sensor_service_pb2.Hello:
        fact = coverage_pb2.CoverageFact(fact="exec", state=coverage_pb2.COVERAGE_STATE_FULL)
        return sensor_service_pb2.Hello(
            host=HOST.host,
            boot_id=HOST.boot_id,
            kernel="6.18",
            version=VERSION,
            clock_offset_ns=HOST.clock_offset_ns,
            coverage=coverage_pb2.Coverage(kernel="6.18", loader="libbpf", facts=[fact]),
            capabilities=["enrol", "kill", "finish", "probe"],
        )
