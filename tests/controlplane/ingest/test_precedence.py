"""Stops before batches, and never so long that events stay out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.ingest import precedence
from controlplane.ingest.precedence import Precedence
from rubicon.v1 import response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, Kernel, key
from tests.controlplane.stage import Stage, until

ROOT = key(100)


async def test_intake_waits_for_the_stop() -> None:
    turns = Precedence()
    await turns.turn()
    with turns.stop():
        waiting = asyncio.create_task(turns.turn())
        with turns.stop():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert not waiting.done()
    await waiting


async def test_a_stop_that_hangs_holds_intake_for_a_while_only() -> None:
    turns = Precedence()
    with turns.stop():
        begin = asyncio.get_running_loop().time()
        await turns.turn()
        assert asyncio.get_running_loop().time() - begin >= precedence.MOST * 0.9
        held = asyncio.get_running_loop().time()
        await turns.turn()
    with turns.stop():
        # what follows at once has to share: intake has as long for itself as it was held
        free = asyncio.create_task(turns.turn())
        await asyncio.sleep(0)
        assert free.done() or asyncio.get_running_loop().time() - held >= precedence.MOST


async def test_the_result_of_a_kill_overtakes_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that come while the kill is under way are taken after it, though they were sent before its result."""
    monkeypatch.setattr(precedence, "MOST", 60.0)
    async with Stage(tmp_path) as stage:
        link = await stage.connect()
        kernel = Kernel()
        await link.deliver([kernel.enrol(ROOT)])
        target = response_pb2.Target(agent=AGENT)
        asked = asyncio.create_task(_kill(stage, target))
        async with asyncio.timeout(40):
            command = await link.commands.get()
        head = stage.plane.store.writer.head
        sequence = 0
        for number in range(20):
            sequence = await link.send([kernel.fork(ROOT, key(1000 + number * 10 + n)) for n in range(10)])
        result = sensor_service_pb2.CommandResult(id=command.id)
        result.response.state = response_pb2.RESPONSE_STATE_VERIFIED
        await link.call.write(sensor_service_pb2.ConnectRequest(result=result))
        answer = await asked
        assert answer.response.state == response_pb2.RESPONSE_STATE_VERIFIED
        await link.acknowledged(sequence)
        await until(lambda: stage.plane.store.writer.head == head + 200, "all batches are stored")


async def _kill(stage: Stage, target: response_pb2.Target) -> response_service_pb2.KillResponse:
    return await stage.api().Kill(response_service_pb2.KillRequest(target=target))
