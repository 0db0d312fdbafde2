"""Stops while the database takes no write: they are done, and told in order once it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.settings import Settings, StoreSettings
from rubicon.v1 import event_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.audit.desk import Hand
from tests.controlplane.builders import AGENT, SENSOR, Kernel, key
from tests.controlplane.stage import Link, Request, Stage, reason

ROOT = key(100)
REQUESTED, VERIFIED = response_pb2.RESPONSE_STATE_REQUESTED, response_pb2.RESPONSE_STATE_VERIFIED
APPLIED, FAILED = response_pb2.RESPONSE_STATE_APPLIED, response_pb2.RESPONSE_STATE_FAILED
TARGET = response_pb2.Target(agent=AGENT)
Result = sensor_service_pb2.CommandResult
IMPATIENT = Settings(store=StoreSettings(busy_timeout=0.1, give_up=1.2, retry=0.05))


@pytest.fixture
def hand(stage: Stage, tmp_path: Path) -> Hand:
    return Hand(tmp_path)


async def applied_first(link: Link, command: sensor_service_pb2.Command) -> Result:
    so_far = response_pb2.Response(state=APPLIED)
    await link.call.write(Request(result=Result(id=command.id, response=so_far, interim=True)))
    return Result(response=response_pb2.Response(state=VERIFIED))


async def dead(_: sensor_service_pb2.Command) -> Result:
    return Result(response=response_pb2.Response(state=VERIFIED, killed=1))


async def seen(stream: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [(await anext(stream)).response.state for _ in range(count)]


async def test_an_isolation_does_not_wait_for_it(stage: Stage, hand: Hand) -> None:
    link, kernel = await stage.connect(capabilities=["kill", "contain"]), Kernel()
    await link.deliver([kernel.enrol(ROOT)])
    stream = aiter(stage.api().WatchResponses(response_service_pb2.WatchResponsesRequest()))
    await anext(stream)
    hand.run("BEGIN IMMEDIATE")
    call = asyncio.ensure_future(stage.api().Isolate(response_service_pb2.IsolateRequest(target=TARGET, reason="why")))
    began = time.monotonic()
    command = await link.answer(partial(applied_first, link))
    assert time.monotonic() - began < 1  # the database is locked for as long as this test likes
    told = event_pb2.Contain(
        isolated=True,
        response_id=command.contain.response_id,
        requested_by=command.contain.requested_by,
        action=response_pb2.ACTION_ISOLATE,
    )
    batch = await link.send([kernel.event(None, SENSOR, contain=told)])
    await asyncio.sleep(0.3)
    assert not call.done()
    hand.run("ROLLBACK")
    answer = await call
    await link.acknowledged(batch)
    assert await seen(stream, 3) == [REQUESTED, APPLIED, VERIFIED]
    got = await stage.api().GetResponse(response_service_pb2.GetResponseRequest(id=answer.response.id))
    assert got.response.state == VERIFIED
    deeds = [(one["phase"], one["outcome"]) for one in await stage.audited() if one["action"] == "isolate"]
    assert deeds == [("requested", ""), ("result", "verified")]  # and not a third that was "reported"


async def test_a_kill_waits_a_second(stage: Stage, hand: Hand) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    hand.run("BEGIN IMMEDIATE")
    call = asyncio.ensure_future(stage.api().Kill(response_service_pb2.KillRequest(target=TARGET)))

    await link.answer(dead)
    hand.run("ROLLBACK")
    assert (await call).response.state == VERIFIED


@asynccontextmanager
async def isolating_while_locked(folder: Path) -> AsyncIterator[tuple[Stage, Link, Hand, asyncio.Future[Any]]]:
    """A plane that waits little; the lock is the hand's."""
    async with Stage(folder, IMPATIENT) as stage:
        link = await stage.connect(capabilities=["kill", "contain"])
        await link.deliver([Kernel().enrol(ROOT)])
        hand = Hand(folder)
        hand.run("BEGIN IMMEDIATE")
        isolate = response_service_pb2.IsolateRequest(target=TARGET)
        yield stage, link, hand, asyncio.ensure_future(stage.api().Isolate(isolate))


async def test_what_was_done_and_is_not_stored_says_so(tmp_path: Path) -> None:
    async with isolating_while_locked(tmp_path) as (stage, link, hand, call):
        await link.answer(partial(applied_first, link))
        with pytest.raises(
            grpc.aio.AioRpcError, match=r"the host did it \(verified\).*is not stored yet.*locked"
        ) as caught:
            await call
        assert reason(caught.value) == "STORE_UNAVAILABLE"
        second = asyncio.ensure_future(stage.api().Kill(response_service_pb2.KillRequest(target=TARGET)))
        await link.answer(dead)
        hand.run("ROLLBACK")
        await second
        phases = [one["phase"] for one in await stage.audited() if one["action"] == "isolate"]
        assert phases == ["requested", "result"]
        # each is stored as it ended, so that nothing of it is carried out again
        listed = (await stage.api().ListResponses(response_service_pb2.ListResponsesRequest())).responses
        assert [(each.action, each.state) for each in listed] == [
            (response_pb2.ACTION_KILL, VERIFIED), (response_pb2.ACTION_ISOLATE, VERIFIED),
        ]  # fmt: skip
        assert not await asyncio.to_thread(stage.plane.store.entities.open_responses)


async def test_a_refusal_is_told_as_one(tmp_path: Path) -> None:
    async with isolating_while_locked(tmp_path) as (_, link, hand, call):

        async def protected(_: sensor_service_pb2.Command) -> Result:
            return Result(error_reason="TARGET_PROTECTED", error="that is your own shell")

        await link.answer(protected)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason(caught.value) == "TARGET_PROTECTED"
        hand.run("ROLLBACK")
