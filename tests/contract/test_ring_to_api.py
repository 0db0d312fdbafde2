"""Bytes of the ABI in the ring become what a caller reads, through every real part between them; and nothing is lost or
doubled when either daemon dies in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from rubicon.v1 import (
    agent_pb2,
    agent_service_pb2,
    event_pb2,
    event_service_pb2,
    process_pb2,
    response_pb2,
    response_service_pb2,
    sensor_service_pb2,
)
from sensor.errors import AgentNotFound, TargetProtected
from tests.contract.rig import HalfSensor
from tests.controlplane.stage import Stage, reason
from tests.sensor.collect import records
from tests.sensor.collect.records import AGENT_ID
from tests.sensor.collect.ring import MemoryKernel

ROOT = process_pb2.ProcessKey(pid=4321, start_time_ns=4_000_000_000)


@pytest.fixture
async def sensor(stage: Stage, tmp_path: Path) -> AsyncIterator[HalfSensor]:
    sensor = HalfSensor(stage, tmp_path / "spool").start()
    yield sensor
    await sensor.stop()


def enrol(name: str = "rollout") -> event_pb2.Event:
    facts = event_pb2.Enrol(name=name, root=ROOT, labels={"job": "rome-7"}, command=["make"], cgroup_path="/rubicon/x")
    return event_pb2.Event(agent_id=AGENT_ID, process=ROOT, time_ns=4_500_000_000, enrol=facts)


async def events_of(stage: Stage) -> list[event_pb2.Event]:
    request = event_service_pb2.StreamEventsRequest(agent=AGENT_ID)
    return [stored.event async for page in stage.api().StreamEvents(request) for stored in page.events]


async def test_records_of_the_abi_become_a_tree(stage: Stage, sensor: HalfSensor) -> None:
    sensor.collector.emit(enrol())
    sensor.kernel.ring.put(
        [
            records.execute(argv=b"make\0-j\0", exe=b"/usr/bin/make", sequence=1),
            records.fork(child=5000, sequence=2),
            records.connect(sequence=3),
        ]
    )
    await sensor.until(lambda: sensor.spool.acknowledged > 0, "something was acknowledged")
    await sensor.delivered()
    tree = await stage.api().GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent="rollout"))
    assert (tree.agent.id, tree.agent.processes, tree.agent.flows) == (AGENT_ID, 2, 1)
    root, child = tree.processes
    assert (root.id.pid, root.id.start_time_ns, list(root.argv)) == (4321, 4_000_000_000, ["make", "-j"])
    assert (child.id.pid, child.parent_pid, child.exe) == (5000, 4321, "/usr/bin/make")
    assert child.id.host == "rome"


async def test_a_plane_that_restarts_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    stage = await Stage(tmp_path).start()
    sensor = HalfSensor(stage, tmp_path / "spool").start()
    sensor.collector.emit(enrol())
    total = 0
    try:
        for burst in range(6):
            batch = [records.fork(child=5000 + total + n, sequence=total + n + 1) for n in range(200)]
            sensor.kernel.ring.put(batch)
            total += len(batch)
            if burst in (1, 3):
                await stage.stop()
                await sensor.until(lambda: not sensor.kernel.ring.records, "collected while the plane is dead")
                await stage.start()
        await sensor.delivered()
        forks = [event for event in await events_of(stage) if event.HasField("fork")]
        assert [event.record.sequence for event in forks] == list(range(1, total + 1))
        agent = stage.plane.pipeline.agent(AGENT_ID)
        assert agent is not None
        assert (agent.processes, agent.processes_total) == (total + 1, total + 1)
    finally:
        await sensor.stop()
        await stage.stop()


async def test_a_sensor_that_dies_in_the_middle_loses_and_doubles_nothing(stage: Stage, tmp_path: Path) -> None:
    kernel = MemoryKernel()
    sensor = HalfSensor(stage, tmp_path / "spool", kernel).start()
    sensor.collector.emit(enrol())
    total = 0
    for _ in range(5):
        kernel.ring.put([records.fork(child=5000 + total + n, sequence=total + n + 1) for n in range(300)])
        total += 300
        while not sensor.spool.last_sequence:
            await asyncio.sleep(0.001)
        await sensor.stop()
        kernel.ring.cursor = 0
        sensor = HalfSensor(stage, tmp_path / "spool", kernel).start()
    try:
        await sensor.delivered()
        forks = [event.record.sequence for event in await events_of(stage) if event.HasField("fork")]
        assert sorted(forks) == list(range(1, total + 1))
    finally:
        await sensor.stop()


async def test_a_kill_goes_down_and_what_became_of_it_comes_up(stage: Stage, sensor: HalfSensor) -> None:
    sensor.collector.emit(enrol())
    sensor.kernel.ring.put([records.fork(child=5000, sequence=1)])
    await sensor.until(lambda: sensor.spool.acknowledged > 0, "something was acknowledged")
    await sensor.delivered()

    async def kill(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        done = response_pb2.Response(
            id=command.kill.response_id, state=response_pb2.RESPONSE_STATE_VERIFIED, killed=2, steps=["condemned"]
        )
        return sensor_service_pb2.CommandResult(response=done)

    sensor.handler = kill
    request = response_service_pb2.KillRequest(target=response_pb2.Target(agent="rollout"), reason="enough")
    answer = (await stage.api().Kill(request)).response
    assert (answer.state, answer.killed) == (response_pb2.RESPONSE_STATE_VERIFIED, 2)
    (command,) = sensor.commands
    assert command.kill.agent_id == AGENT_ID
    assert [key.pid for key in command.kill.descendants] == [4321, 5000]
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT_ID))).agent
    assert (agent.state, agent.reason) == (agent_pb2.AGENT_STATE_KILLED, "enough")


async def test_what_the_sensor_refuses_reaches_the_caller_by_its_reason(stage: Stage, sensor: HalfSensor) -> None:
    sensor.collector.emit(enrol())
    await sensor.until(lambda: sensor.spool.acknowledged > 0, "the enrolment was acknowledged")

    async def refuse(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        raise TargetProtected("the target holds your shell; repeat with force when you mean it")

    sensor.handler = refuse
    request = response_service_pb2.KillRequest(target=response_pb2.Target(agent="rollout"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.api().Kill(request)
    assert reason(caught.value) == "TARGET_PROTECTED"
    assert "your shell" in str(caught.value.details())


async def test_an_agent_that_ended_while_the_kill_was_on_its_way(stage: Stage, sensor: HalfSensor) -> None:
    sensor.collector.emit(enrol())
    await sensor.until(lambda: sensor.spool.acknowledged > 0, "the enrolment was acknowledged")

    async def gone(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        end = event_pb2.Event(agent_id=AGENT_ID, time_ns=6_000_000_000, finish=event_pb2.Finish(reason="exited"))
        asyncio.get_running_loop().call_later(0.05, sensor.collector.emit, end)
        raise AgentNotFound("no living agent rollout")

    sensor.handler = gone
    request = response_service_pb2.KillRequest(target=response_pb2.Target(agent="rollout"))
    answer = (await stage.api().Kill(request)).response
    assert (answer.state, answer.killed) == (response_pb2.RESPONSE_STATE_VERIFIED, 0)
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT_ID))).agent
    assert agent.state == agent_pb2.AGENT_STATE_FINISHED
