"""CoverageService."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from controlplane.errors import CommandTimeout, SensorUnreachable, from_sensor
from controlplane.ingest.sensors import Sensors
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2, coverage_service_pb2, coverage_service_pb2_grpc, sensor_service_pb2


class CoverageServicer(coverage_service_pb2_grpc.CoverageServiceServicer):
    """What the hosts really see; and one synthetic event through the whole pipeline."""

    def __init__(
        self,
        store: Store,
        sensors: Sensors,
        facts: Callable[[], Iterable[coverage_pb2.CoverageFact]],
        command_timeout: float,
    ) -> None:
        """
        Args:
            facts: what the plane itself cannot see (a detector that crashed), listed with every host.
            command_timeout: seconds until a probe counts as lost.
        """
        self._sensors = sensors
        self._facts = facts
        self._timeout = command_timeout
        self._probes: dict[str, asyncio.Future[None]] = {}
        store.writer.listeners.append(self._published)

    async def ListCoverage(  # noqa: N802
        self, request: coverage_service_pb2.ListCoverageRequest, context: Any
    ) -> coverage_service_pb2.ListCoverageResponse:
        """Raises: SensorUnreachable when the host named never connected since the plane started."""
        coverage = self._sensors.coverage(request.host)
        for host in coverage:
            host.facts.extend(self._facts())
        if request.host and not coverage:
            raise SensorUnreachable(f"no sensor of host {request.host} has connected since the plane started")
        return coverage_service_pb2.ListCoverageResponse(coverage=coverage)

    async def ProbePipeline(  # noqa: N802
        self, request: coverage_service_pb2.ProbePipelineRequest, context: Any
    ) -> coverage_service_pb2.ProbePipelineResponse:
        """Raises: SensorUnreachable, InvalidArgument, CommandTimeout, what the sensor says."""
        host = self._sensors.pick(request.host)
        token = secrets.token_hex(16)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._probes[token] = stored
        begin = time.monotonic_ns()
        try:
            command = sensor_service_pb2.Command(probe=sensor_service_pb2.ProbeCommand(token=token))
            result = await self._sensors.command(host, command, self._timeout)
            if result.error_reason:
                raise from_sensor(result.error_reason, result.error)
            async with asyncio.timeout(self._timeout):
                await stored
        except TimeoutError:
            raise CommandTimeout(f"the probe of host {host} was sent but has not been stored") from None
        finally:
            del self._probes[token]
        elapsed = time.monotonic_ns() - begin
        duration = Duration(seconds=elapsed // 10**9, nanos=elapsed % 10**9)
        return coverage_service_pb2.ProbePipelineResponse(elapsed=duration)

    def _published(self, _: int, write: Write) -> None:
        if not self._probes:
            return
        for event in write.events:
            if event.WhichOneof("kind") == "probe":
                waiting = self._probes.get(event.probe.token)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
