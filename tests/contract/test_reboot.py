"""A host boots anew: what ran before is over, also when the plane was restarted meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rubicon.v1 import agent_pb2, agent_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key
from tests.controlplane.stage import Stage

NEXT = "99999999-8888-7777-6666-555555555555"


@pytest.mark.parametrize("restart", [False, True])
async def test_agents_of_the_boot_before_are_finished(tmp_path: Path, restart: bool) -> None:
    stage = await Stage(tmp_path).start()
    try:
        kernel = Kernel()
        await (await stage.connect()).deliver([kernel.enrol(key(10)), kernel.fork(key(10), key(11))])
        for link in stage.links:
            await link.close()
        if restart:
            await stage.stop()
            await stage.start()
        await stage.connect(
            boot_id=NEXT,
            clock_offset_ns=HOST.clock_offset_ns + 10**12,
            token=stage.token("sensor", pid=500, boot_id=NEXT),
        )
        async with asyncio.timeout(10):
            while True:
                found = await stage.api().GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent=AGENT, all=True))
                if found.agent.state == agent_pb2.AGENT_STATE_FINISHED:
                    break
                await asyncio.sleep(0.02)
        assert found.agent.processes == 0
        assert [process.HasField("ended_at") for process in found.processes] == [True, True]
    finally:
        await stage.stop()
