"""CoverageService, and the probe through the whole pipeline."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from controlplane.settings import Settings, WireSettings
from rubicon.v1 import coverage_pb2, coverage_service_pb2, event_pb2, sensor_service_pb2
from tests.controlplane.builders import Kernel
from tests.controlplane.stage import Stage, reason

Ask = coverage_service_pb2.ListCoverageRequest
Probe = coverage_service_pb2.ProbePipelineRequest
Result = sensor_service_pb2.CommandResult


async def test_coverage_outlives_the_connection(stage: Stage) -> None:
    assert not (await stage.api().ListCoverage(Ask())).coverage
    fact = coverage_pb2.CoverageFact(fact="exec", state=coverage_pb2.COVERAGE_STATE_FULL)
    link = await stage.connect(coverage=coverage_pb2.Coverage(loader="libbpf", facts=[fact]))
    (now,) = (await stage.api().ListCoverage(Ask(host="rome"))).coverage
    assert (now.host, now.loader, now.connected, now.facts[0].fact) == ("rome", "libbpf", True, "exec")
    await link.close()
    async with asyncio.timeout(10):
        while (await stage.api().ListCoverage(Ask())).coverage[0].connected:
            await asyncio.sleep(0.01)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.api().ListCoverage(Ask(host="paris"))
    assert reason(caught.value) == "SENSOR_UNREACHABLE"


async def test_probe(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel(agent="")

    async def work(command: sensor_service_pb2.Command) -> Result:
        await link.send([kernel.event(None, probe=event_pb2.Probe(token=command.probe.token))])
        return Result()

    answer, _ = await asyncio.gather(stage.api().ProbePipeline(Probe()), link.answer(work))
    assert 0 < answer.elapsed.ToNanoseconds() < 10 * 10**9


async def test_probe_that_is_lost(tmp_path: Path) -> None:
    async with Stage(tmp_path, Settings(wire=WireSettings(command_timeout=0.3))) as stage:
        link = await stage.connect()

        async def swallow(_: sensor_service_pb2.Command) -> Result:
            return Result()

        call = asyncio.ensure_future(stage.api().ProbePipeline(Probe()))
        await link.answer(swallow)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught.value) == "DEADLINE"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stage.api().ProbePipeline(Probe())
        assert reason(caught.value) == "DEADLINE", "no answer at all"


async def test_probe_without_a_sensor_and_with_an_old_one(stage: Stage) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.api().ProbePipeline(Probe())
    assert reason(caught.value) == "SENSOR_UNREACHABLE"
    await stage.connect(capabilities=["kill"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.api().ProbePipeline(Probe())
    assert reason(caught.value) == "INVALID_ARGUMENT"
