"""EventService: history by cursor, then live, without a gap or a duplicate."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.store.convert import stamp
from rubicon.v1 import event_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key
from tests.controlplane.stage import Stage, reason

ROOT = key(100)
Ask = event_service_pb2.StreamEventsRequest


async def collect(stage: Stage, request: Ask) -> list[Any]:
    return [event async for response in stage.api().StreamEvents(request) for event in response.events]


async def refused(stage: Stage, request: Ask) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(stage, request)
    return reason(caught.value)


async def filled(stage: Stage) -> Kernel:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "bash"), kernel.fork(ROOT, key(101))])
    await link.deliver([kernel.exec(key(101), "ls", "--token", "s3"), kernel.exit(key(101))])
    other = Kernel("bbbb00000001", epoch=78, start_ns=2_000_000_000)
    await link.deliver([other.enrol(key(200), name="second"), other.exec(key(200), "vim")])
    return kernel


async def test_all_in_stored_order(stage: Stage) -> None:
    await filled(stage)
    events = await collect(stage, Ask())
    kinds = [e.event.WhichOneof("kind") for e in events]
    assert kinds == ["enrol", "exec", "fork", "exec", "exit", "enrol", "exec"]
    assert {(e.host, e.boot_id) for e in events} == {(HOST.host, HOST.boot_id)}
    first = events[0]
    assert first.time == stamp(first.event.time_ns + HOST.clock_offset_ns)
    assert [a.decode() for a in events[3].event.exec.argv] == ["ls", "--token", "***"]
    shown = await collect(stage, Ask(show_secrets=True))
    assert shown[3].event.exec.argv[2] == b"s3"


async def test_filters(stage: Stage) -> None:
    await filled(stage)
    assert {e.event.agent_id for e in await collect(stage, Ask(agent="second"))} == {"bbbb00000001"}
    execs = await collect(stage, Ask(kinds=["exec", "exit"]))
    assert [e.event.process.pid for e in execs] == [100, 101, 101, 200]
    assert [e.event.WhichOneof("kind") for e in await collect(stage, Ask(pid=101))] == ["exec", "exit"]
    assert not await collect(stage, Ask(pid=999))
    assert not await collect(stage, Ask(pid=200, agent=AGENT))
    cut = stamp(2_000_000_000 + HOST.clock_offset_ns)
    before = await collect(stage, Ask(until=cut))
    after = await collect(stage, Ask(since=cut))
    assert (len(before), len(after)) == (5, 2)


async def test_cursor_resumes_after_each_event(stage: Stage) -> None:
    await filled(stage)
    events = await collect(stage, Ask())
    for n, event in enumerate(events):
        rest = await collect(stage, Ask(cursor=event.cursor))
        assert [e.cursor for e in rest] == [e.cursor for e in events[n + 1 :]]


async def test_bad_cursors_kinds_and_agents(stage: Stage) -> None:
    await filled(stage)
    last = (await collect(stage, Ask()))[-1].cursor
    assert await refused(stage, Ask(cursor="nonsense")) == "CURSOR_INVALID"
    assert await refused(stage, Ask(cursor="AAAA" + last[4:])) == "CURSOR_INVALID"
    ahead = "cmJjMQAAAAAAAP__"
    assert await refused(stage, Ask(cursor=ahead)) == "CURSOR_INVALID"
    assert await refused(stage, Ask(kinds=["exce"])) == "INVALID_ARGUMENT"
    assert await refused(stage, Ask(agent="nobody")) == "AGENT_NOT_FOUND"


async def test_follow_has_no_gap_and_no_duplicate(stage: Stage) -> None:
    """Read while it is written, from the middle, with compaction in between."""
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), *(kernel.exec(ROOT, "x") for _ in range(50))])
    cursor = (await collect(stage, Ask()))[10].cursor
    call = stage.api().StreamEvents(Ask(cursor=cursor, follow=True, kinds=["exec"]))
    seen: list[int] = []

    async def read() -> None:
        async for response in call:
            seen.extend(e.event.record.sequence for e in response.events)
            if seen[-1] == 350:
                return

    reader = asyncio.create_task(read())
    for _ in range(30):
        await link.deliver([kernel.exec(ROOT, "y") for _ in range(10)])
        await asyncio.to_thread(stage.plane.store.compactor.step, all_=True)
    async with asyncio.timeout(10):
        await reader
    assert seen == list(range(11, 351))
    call.cancel()


async def test_follow_waits_when_there_is_nothing(stage: Stage) -> None:
    call = stage.api().StreamEvents(Ask(follow=True, since=Timestamp(seconds=1)))
    waiting = asyncio.ensure_future(anext(aiter(call)))
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    async with asyncio.timeout(10):
        assert (await waiting).events[0].event.WhichOneof("kind") == "enrol"
    call.cancel()
