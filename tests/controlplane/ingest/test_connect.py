"""The sensor's stream: what is taken, what is refused, and what is durable when."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import grpc
import pytest

from controlplane.settings import Settings, StoreSettings
from controlplane.store.events import Query
from rubicon.v1 import agent_pb2, coverage_pb2, event_pb2, event_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key
from tests.controlplane.stage import Link, Request, Stage, reason, until

ROOT = key(100)


def rollout(kernel: Kernel) -> list[event_pb2.Event]:
    return [kernel.enrol(ROOT), kernel.exec(ROOT, "bash"), kernel.fork(ROOT, key(101)), kernel.exec(key(101), "ls")]


def stored(stage: Stage) -> list[int]:
    """Sequences of what is stored for CPU 0, in order."""
    store = stage.plane.store
    runs = store.events.read(Query(), 0, store.writer.head)
    return [s.event.record.sequence for run in runs for s in run if s.event.record.cpu == 0]


async def refused(stage: Stage, **facts: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stage.connect(**facts)
    return reason(caught.value)


async def test_acknowledged_is_stored(stage: Stage) -> None:
    link = await stage.connect()
    assert link.welcome.version
    await link.deliver(rollout(Kernel()))
    assert stored(stage) == [1, 2, 3]
    assert stage.plane.store.entities.agent("rollout").id == AGENT  # type: ignore[union-attr]
    assert [p.argv[0] for p in stage.plane.store.entities.processes(AGENT, all_=True)] == ["bash", "ls"]


async def test_twice_and_out_of_order(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    first, second, third = rollout(kernel), [kernel.exec(ROOT, "a")], [kernel.exec(ROOT, "b")]
    await link.deliver(first)
    await link.deliver(first, sequence=1)
    await link.deliver(third, sequence=3)
    await link.send(second, sequence=2)
    await link.deliver(third, sequence=4)
    assert stored(stage) == [1, 2, 3, 5, 4]
    assert link.acked == 4


async def test_known_after_a_restart(tmp_path: Path) -> None:
    kernel = Kernel()
    batch = rollout(kernel)
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver(batch)
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    await link.deliver([*batch, kernel.exec(ROOT, "again")])
    assert stored(stage) == [1, 2, 3, 4]
    again = stage.plane.store.entities.agent(AGENT)
    assert again is not None
    assert (again.processes, again.processes_total) == (2, 2)
    await stage.stop()


async def test_a_fresh_spool_is_not_taken_for_acknowledged(stage: Stage) -> None:
    kernel = Kernel()
    link = await stage.connect()
    await link.deliver(rollout(kernel), sequence=7)
    await link.close()
    link = await stage.connect(first_sequence=1)
    assert link.welcome.acknowledged == 0
    await link.deliver([kernel.exec(ROOT, "new")], sequence=1)
    assert stored(stage)[-1] == 4
    await link.close()
    link = await stage.connect(first_sequence=2)
    assert link.welcome.acknowledged == 1


async def test_another_host(stage: Stage) -> None:
    assert await refused(stage, host="paris") == "HOST_MISMATCH"
    assert await refused(stage, boot_id="22222222-2222-3333-4444-555555555555") == "HOST_MISMATCH"


async def test_bad_hellos(stage: Stage) -> None:
    assert await refused(stage, boot_id="x") == "INVALID_ARGUMENT"
    assert await refused(stage, host="") == "INVALID_ARGUMENT"
    assert await refused(stage, version="9.0.0") == "INVALID_ARGUMENT"
    assert await refused(stage, version="") == "INVALID_ARGUMENT"


async def test_first_message_is_hello(stage: Stage) -> None:
    link = Link(stage)
    await link.call.write(Request(batch=sensor_service_pb2.Batch(sequence=1)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await link.ended()
    assert reason(caught.value) == "INVALID_ARGUMENT"


async def test_second_hello_and_no_sequence(stage: Stage) -> None:
    for wrong in (Request(hello=Link(stage).hello), Request(batch=sensor_service_pb2.Batch()), Request()):
        link = await stage.connect()
        await link.call.write(wrong)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await link.ended()
        assert reason(caught.value) == "INVALID_ARGUMENT"


async def test_an_api_token_is_no_sensor(stage: Stage) -> None:
    assert await refused(stage, token=stage.token("api")) == "UNAUTHENTICATED"


async def test_second_sensor(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.ingest.sensors.HANDOVER", 0.2)
    first = await stage.connect(pid=500)
    assert await refused(stage, pid=501) == "SENSOR_DUPLICATE"
    await first.deliver(rollout(Kernel()))
    await first.close()
    second = await stage.connect(pid=501)
    await second.deliver([Kernel(epoch=78).exec(ROOT, "x")])


async def test_the_same_sensor_takes_over_its_stream(stage: Stage) -> None:
    old = await stage.connect(pid=500)
    new = await stage.connect(pid=500)
    await new.deliver(rollout(Kernel()))
    await until(old.call.done, "the old stream has ended")


async def test_a_restarted_sensor_waits_for_its_predecessors_end(stage: Stage) -> None:
    old = await stage.connect(pid=500)
    coming = asyncio.create_task(stage.connect(pid=501))
    await old.close()
    await (await coming).deliver(rollout(Kernel()))


async def test_malformed_message(stage: Stage) -> None:
    channel = stage.channel()
    call = channel.stream_stream("/rubicon.v1.SensorService/Connect")(
        metadata=(("authorization", f"Bearer {stage.token('sensor')}"),)
    )
    await call.write(b"\xff\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert reason(caught.value) == "INVALID_ARGUMENT"
    await (await stage.connect()).deliver(rollout(Kernel()))


async def test_oversized_message(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    huge = kernel.exec(ROOT, b"x" * (17 << 20))
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await link.send([huge])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await link.ended()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stored(stage) == []
    await (await stage.connect()).deliver([kernel.exec(ROOT, "fits")])


async def test_locked_database(tmp_path: Path) -> None:
    settings = Settings(StoreSettings(busy_timeout=0.1, give_up=0.5, retry=0.05))
    async with Stage(tmp_path, settings) as stage:
        kernel = Kernel()
        link = await stage.connect()
        await link.deliver(rollout(kernel))
        lock = sqlite3.connect(tmp_path / "store" / "rubicon.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        late = [kernel.exec(ROOT, "late")]
        sequence = await link.send(late)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await link.ended()
        assert reason(caught.value) == "STORE_UNAVAILABLE"
        assert link.acked < sequence
        assert await refused(stage) == "STORE_UNAVAILABLE"
        lock.execute("ROLLBACK")
        lock.close()
        await until(lambda: stage.plane.store.writer.failure is None, "the store works again")
        link = await stage.connect(first_sequence=sequence)
        await link.deliver(late, sequence)
        assert stored(stage) == [1, 2, 3, 4]


async def test_a_reboot_ends_what_ran_before(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver(rollout(Kernel()))
    await link.close()
    again = {"boot_id": "22222222-2222-3333-4444-555555555555"}
    stamp = HOST.clock_offset_ns + 60 * 10**9
    link = await stage.connect(**again, clock_offset_ns=stamp, token=stage.token("sensor", **again))

    def state() -> int:
        agent = stage.plane.store.entities.agent(AGENT)
        return agent.state if agent is not None else 0

    await until(lambda: state() == agent_pb2.AGENT_STATE_FINISHED, "the agent has ended")
    assert not stage.plane.store.entities.processes(AGENT, all_=False)


async def test_what_an_earlier_boot_left_ends_nothing_of_the_present_one(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver(rollout(Kernel()))
    await link.close()
    earlier = {"boot_id": "00000000-2222-3333-4444-555555555555"}
    late = await stage.connect(
        **earlier, clock_offset_ns=HOST.clock_offset_ns + 10**6, token=stage.token("sensor", **earlier)
    )
    await late.deliver([Kernel("bbbb00000001", epoch=9).enrol(key(7), name="old")])
    agent = stage.plane.store.entities.agent(AGENT)
    assert agent is not None
    assert agent.state == agent_pb2.AGENT_STATE_RUNNING


async def test_coverage_that_changes(stage: Stage) -> None:
    link = await stage.connect()
    coverage = coverage_pb2.Coverage(facts=[coverage_pb2.CoverageFact(fact="exec")])
    await link.call.write(Request(coverage=coverage))
    await until(lambda: len(stage.plane.sensors.coverage(HOST.host)[0].facts) == 1, "coverage arrived")


async def test_large_batch_in_parts(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    batch = [kernel.enrol(ROOT), *(kernel.exec(ROOT, "x", cpu=0) for _ in range(3500))]
    await link.deliver(batch)
    assert stored(stage) == list(range(1, 3501))
    events = 0
    async for response in stage.api().StreamEvents(event_service_pb2.StreamEventsRequest()):
        assert len(response.events) <= 500
        events += len(response.events)
    assert events == 3501
