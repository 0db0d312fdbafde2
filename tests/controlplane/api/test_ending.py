"""Streams about one agent end with it, and say why it was killed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from rubicon.v1 import (
    agent_pb2,
    alert_service_pb2,
    event_service_pb2,
    response_pb2,
    response_service_pb2,
    sensor_service_pb2,
)
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tunnel
from tests.controlplane.stage import Link, Stage

ROOT = key(100)
KILLED, FINISHED = agent_pb2.AGENT_STATE_KILLED, agent_pb2.AGENT_STATE_FINISHED
Result = sensor_service_pb2.CommandResult
WATCH = alert_service_pb2.WatchAlertsRequest(agent=AGENT, include_existing=True)
FOLLOW = event_service_pb2.StreamEventsRequest(agent=AGENT, follow=True)


def kernel_now() -> Kernel:
    """A kernel whose records are of now."""
    return Kernel(start_ns=time.time_ns() - HOST.clock_offset_ns)


async def all_of(call: Any) -> list[Any]:
    async with asyncio.timeout(20):
        return [answer async for answer in call]


async def begun(call: Any) -> asyncio.Task[list[Any]]:
    """A stream that stands, and is read to its end."""
    first = await anext(aiter(call))

    async def rest() -> list[Any]:
        return [first, *await all_of(call)]

    return asyncio.create_task(rest())


async def killed(link: Link, stage: Stage, kernel: Kernel, first: str) -> None:
    async def dead(_: sensor_service_pb2.Command) -> Result:
        if first == "finish":
            await link.deliver([kernel.finish("killed")])
        return Result(response=response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED, killed=1))

    request = response_service_pb2.KillRequest(target=response_pb2.Target(agent=AGENT), reason="it tunnels")
    await asyncio.gather(stage.api().Kill(request), link.answer(dead))
    if first == "result":
        await link.deliver([kernel.finish("killed")])


async def test_with_an_agent_that_ends_by_itself(stage: Stage) -> None:
    link, kernel = await stage.connect(), kernel_now()
    await link.deliver([kernel.enrol(ROOT)])
    watch, follow = await begun(stage.api().WatchAlerts(WATCH)), await begun(stage.api().StreamEvents(FOLLOW))
    await link.deliver([*tunnel(kernel, ROOT), kernel.finish("exited")])
    answers = await watch
    assert (answers[-1].ended.id, answers[-1].ended.state) == (AGENT, FINISHED)
    assert {answer.alert.detector for answer in answers[1:-1]} == {"ssh-outbound", "ssh-remote-forward"}
    assert not follow.done(), "its connections may still be closing"
    late = kernel.event(ROOT, loss={"count": 3})
    await link.deliver([late])
    *parts, last = await follow
    assert last.ended.state == FINISHED
    assert [part for answer in parts for part in answer.events][-1].event == late


@pytest.mark.parametrize("first", ["finish", "result"])
async def test_with_one_that_is_killed_once_it_is_known_why(stage: Stage, first: str) -> None:
    link, kernel = await stage.connect(), kernel_now()
    await link.deliver([kernel.enrol(ROOT)])
    watch = await begun(stage.api().WatchAlerts(WATCH))
    await killed(link, stage, kernel, first)
    ended = (await watch)[-1].ended
    assert (ended.state, ended.reason, ended.processes) == (KILLED, "it tunnels", 0)


async def test_one_that_has_ended_long_ago_ends_at_once(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT), *tunnel(kernel, ROOT), kernel.finish("killed")])
    begin = time.monotonic()
    answers = await all_of(stage.api().WatchAlerts(WATCH))
    events = await all_of(stage.api().StreamEvents(FOLLOW))
    assert time.monotonic() - begin < 1.5
    assert [answer.HasField("ended") for answer in answers] == [False, False, False, True]
    assert sum(len(answer.events) for answer in events) == 7
    assert events[-1].ended.state == KILLED


async def test_a_killed_one_whose_records_never_come_ends_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.api.ending.SETTLED", 0.3)
    link, kernel = await stage.connect(), kernel_now()
    await link.deliver([kernel.enrol(ROOT)])
    watch = await begun(stage.api().WatchAlerts(WATCH))
    await killed(link, stage, kernel, "never")
    assert (await watch)[-1].ended.reason == "it tunnels"


async def test_watches_of_all_agents_go_on(stage: Stage) -> None:
    link, kernel = await stage.connect(), kernel_now()
    watch = aiter(stage.api().WatchAlerts(alert_service_pb2.WatchAlertsRequest()))
    await anext(watch)
    await link.deliver([kernel.enrol(ROOT), kernel.finish("exited")])
    other = Kernel("00000000b002", epoch=88)
    await link.deliver([other.enrol(key(200)), *tunnel(other, key(200))])
    async with asyncio.timeout(10):
        assert (await anext(watch)).alert.agent_id == other.agent
