"""What a plane knows again after a restart, and what it does meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import grpc
import pytest

from controlplane.ingest import restore
from controlplane.model.changes import Changes
from rubicon.v1 import (
    agent_pb2,
    agent_service_pb2,
    alert_service_pb2,
    event_service_pb2,
    response_pb2,
    response_service_pb2,
    sensor_service_pb2,
)
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tcp, tunnel
from tests.controlplane.stage import Stage, reason

ROOT = key(100)


async def test_a_tunnel_that_began_before_the_restart_is_recognised_after_it(tmp_path: Path) -> None:
    """The argv came before, the connection's banner after: both halves meet in the detector's memory."""
    kernel = Kernel()
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    before, after = tunnel(kernel, ROOT)[:2], tunnel(kernel, ROOT)[2:]
    await link.deliver([kernel.enrol(ROOT), *before])
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    await link.deliver(after)
    alerts = (await stage.api().ListAlerts(alert_service_pb2.ListAlertsRequest())).alerts
    assert "ssh-remote-forward" in {a.detector for a in alerts}
    await stage.stop()


async def test_tree_and_flows_go_on(tmp_path: Path) -> None:
    kernel = Kernel()
    child, flow = key(101), tcp(5)
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, child), kernel.flow(child, "connect", flow)])
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    await link.deliver(
        [kernel.flow(child, "close", flow, bytes_sent=9), kernel.fork(child, key(102)), kernel.exit(child)]
    )
    tree = await stage.api().GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent=AGENT, all=True))
    assert [(p.id.pid, p.parent_pid, p.HasField("ended_at")) for p in tree.processes] == [
        (100, 0, False),
        (101, 100, True),
        (102, 101, False),
    ]
    assert (tree.agent.processes, tree.agent.processes_total, tree.agent.flows) == (2, 3, 1)
    assert not stage.plane.store.entities.flows(AGENT, open_only=True)
    await stage.stop()


@pytest.mark.parametrize("how", ["exited", "killed"])
async def test_late_records_do_not_revive_who_has_ended(tmp_path: Path, how: str) -> None:
    kernel = Kernel()
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101)), kernel.finish(how)])
    before = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    await link.deliver([kernel.exit(key(101)), kernel.fork(ROOT, key(102)), kernel.exit(ROOT)])
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    assert (agent.name, agent.state, agent.ended_at) == (before.name, before.state, before.ended_at)
    assert not stage.plane.store.entities.processes(AGENT, all_=False)
    await stage.stop()


async def test_one_whose_kill_was_verified_before_its_end_came_stays_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "LATELY_NS", 1 << 62)
    kernel = Kernel()
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101))])
    killed = stage.plane.pipeline.killed(AGENT, "by hand", HOST.clock_offset_ns + kernel.now)
    assert killed is not None
    stage.plane.intake.store(1, HOST, Changes(agent_of={AGENT: killed}))
    await link.deliver([])
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    await link.deliver([kernel.exit(key(101)), kernel.exit(ROOT)])
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    assert agent.state == agent_pb2.AGENT_STATE_KILLED
    assert not stage.plane.store.entities.processes(AGENT, all_=False)
    await link.deliver([kernel.finish("killed")])
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    assert agent.state == agent_pb2.AGENT_STATE_KILLED
    await stage.stop()


async def test_calls_are_answered_and_sensors_wait_while_it_restores(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    await link.close()
    stage.plane.sensors.hold()
    coming = asyncio.create_task(stage.connect())
    target = response_pb2.Target(agent=AGENT)
    kill = asyncio.ensure_future(stage.api().Kill(response_service_pb2.KillRequest(target=target, reason="x")))
    agents = await stage.api().ListAgents(agent_service_pb2.ListAgentsRequest())
    assert [a.id for a in agents.agents] == [AGENT]
    assert not coming.done()
    stage.plane.sensors.open()
    link = await coming

    async def dead(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        return sensor_service_pb2.CommandResult(
            response=response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED, killed=1)
        )

    await link.answer(dead)
    assert (await kill).response.killed == 1


async def test_a_damaged_segment_is_said_and_stops_nothing(tmp_path: Path) -> None:
    kernel = Kernel()
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "bash")])
    await stage.stop()
    with sqlite3.connect(tmp_path / "store" / "rubicon.db") as database:
        database.execute("UPDATE segments SET data = substr(data, 1, length(data) - 3)")
    database.close()
    await stage.start()
    link = await stage.connect()
    await link.deliver([kernel.exec(ROOT, "on")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(stage.api().StreamEvents(event_service_pb2.StreamEventsRequest())))
    assert reason(caught.value) == "STORE_UNAVAILABLE"
    await stage.stop()
