"""ResponseService, and policy's kill across a death of the plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from rubicon.v1 import agent_pb2, agent_service_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tunnel
from tests.controlplane.stage import Link, Request, Stage, reason

ROOT = key(100)
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
APPLIED, FAILED = response_pb2.RESPONSE_STATE_APPLIED, response_pb2.RESPONSE_STATE_FAILED
Result = sensor_service_pb2.CommandResult


def kill(agent: str = "rollout") -> response_service_pb2.KillRequest:
    return response_service_pb2.KillRequest(target=response_pb2.Target(agent=agent), reason="it tunnels")


async def dead(_: sensor_service_pb2.Command) -> Result:
    return Result(response=response_pb2.Response(state=VERIFIED, killed=2, elapsed_ns=5, steps=["condemned"]))


async def test_kill(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101))])
    api = stage.api(uid=1000, pid=77, start=770)
    answer, command = await asyncio.gather(api.Kill(kill()), link.answer(dead))
    asked = command.kill
    assert (asked.agent_id, asked.reason, asked.caller.pid, asked.caller.start_time_ns) == (
        AGENT,
        "it tunnels",
        77,
        770,
    )
    assert [d.pid for d in asked.descendants] == [100, 101]
    response = answer.response
    assert (response.state, response.killed, response.requested_by) == (VERIFIED, 2, "uid 1000 pid 77 @rome")
    got = await api.GetResponse(response_service_pb2.GetResponseRequest(id=response.id))
    assert got.response == response
    listed = await api.ListResponses(response_service_pb2.ListResponsesRequest(agent="rollout"))
    assert list(listed.responses) == [response]
    agent = (await api.GetAgent(agent_service_pb2.GetAgentRequest(agent="rollout"))).agent
    assert (agent.state, agent.reason) == (agent_pb2.AGENT_STATE_KILLED, "it tunnels")


async def test_kill_refusals(stage: Stage) -> None:
    api = stage.api()
    for request, expected in ((kill("nobody"), "AGENT_NOT_FOUND"), (kill(""), "INVALID_ARGUMENT")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.Kill(request)
        assert reason(caught.value) == expected
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])

    async def protected(_: sensor_service_pb2.Command) -> Result:
        return Result(error_reason="ERROR_REASON_TARGET_PROTECTED", error="that is your own shell")

    call = asyncio.ensure_future(api.Kill(kill()))
    await link.answer(protected)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert reason(caught.value) == "TARGET_PROTECTED"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.GetResponse(response_service_pb2.GetResponseRequest(id="0"))
    assert reason(caught.value) == "NOT_FOUND"


async def test_a_caller_on_another_host_protects_nobody_here(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    api = stage.api(host="paris")
    _, command = await asyncio.gather(api.Kill(kill()), link.answer(dead))
    assert command.kill.caller.pid == 0


async def test_policy_kills(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT, on_alert="kill"), *tunnel(kernel, ROOT)])
    command = await link.answer(dead)
    api = stage.api()
    async with asyncio.timeout(10):
        while True:
            responses = (await api.ListResponses(response_service_pb2.ListResponsesRequest())).responses
            if responses and responses[0].state == VERIFIED:
                break
            await asyncio.sleep(0.01)
        while len(audited := [one for one in await stage.audited() if one["action"] == "kill"]) < 2:
            await asyncio.sleep(0.01)
    assert responses[0].id == command.kill.response_id
    assert responses[0].requested_by == "policy"
    asked, done = audited
    assert (done["identity"], done["action"], done["outcome"]) == ("policy", "kill", "verified")
    assert (done["request"], done["response"]) == (asked["sequence"], responses[0].id)
    assert asked["response"] == responses[0].id
    assert done["alert"] == asked["alert"] == responses[0].alert_id != ""


@pytest.mark.parametrize("died", ["before the command", "after the command"])
async def test_policys_kill_survives_the_planes_death(tmp_path: Path, died: str) -> None:
    kernel = Kernel()
    stage = await Stage(tmp_path).start()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT, on_alert="kill"), *tunnel(kernel, ROOT)])
    if died == "after the command":
        await link.commands.get()
    await stage.stop()
    await stage.start()
    link = await stage.connect()
    command = await link.answer(dead)
    assert command.kill.agent_id == AGENT
    await stage.stop()


async def test_kill_of_a_process(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101)), kernel.fork(key(101), key(102))])
    target = response_pb2.Target()
    target.process.pid = 101
    target.process.host = HOST.host
    request = response_service_pb2.KillRequest(target=target, reason="only this")
    _, command = await asyncio.gather(stage.api().Kill(request), link.answer(dead))
    assert (command.kill.process.pid, command.kill.process.start_time_ns) == (101, 101_000)
    assert [d.pid for d in command.kill.descendants] == [102]


Watch = response_service_pb2.WatchResponsesRequest


async def applied_first(link: Link, command: sensor_service_pb2.Command) -> Result:
    """A sensor that says how far it is."""
    so_far = response_pb2.Response(state=APPLIED, steps=["condemned"])
    await link.call.write(Request(result=Result(id=command.id, response=so_far, interim=True)))
    return await dead(command)


async def take(stream: AsyncIterator[response_service_pb2.WatchResponsesResponse], count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


async def test_a_watch_sees_it_requested_applied_and_verified(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    stream = aiter(stage.api().WatchResponses(Watch()))
    assert not (await take(stream, 1))[0].HasField("response")
    answer, _ = await asyncio.gather(stage.api().Kill(kill()), link.answer(partial(applied_first, link)))
    requested, applied, verified = (each.response for each in await take(stream, 3))
    assert (requested.state, applied.state) == (response_pb2.RESPONSE_STATE_REQUESTED, APPLIED)
    assert (list(requested.steps), list(applied.steps)) == ([], ["condemned"])
    assert verified == answer.response
    assert {requested.id, applied.id} == {verified.id}
    assert (applied.reason, applied.requested_by) == ("it tunnels", verified.requested_by)


async def test_whoever_asks_meanwhile_sees_it_applied(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    api = stage.api()
    seen: list[response_pb2.Response] = []

    async def look(command: sensor_service_pb2.Command) -> Result:
        result = await applied_first(link, command)
        async with asyncio.timeout(10):
            while not seen or seen[-1].state != APPLIED:
                listed = (await api.ListResponses(response_service_pb2.ListResponsesRequest())).responses
                got = await api.GetResponse(response_service_pb2.GetResponseRequest(id=listed[0].id))
                existing = aiter(api.WatchResponses(Watch(include_existing=True)))
                first = (await take(existing, 2))[1].response
                seen[:] = [listed[0], got.response, first]
        return result

    answer, _ = await asyncio.gather(api.Kill(kill()), link.answer(look))
    assert [(each.state, list(each.steps)) for each in seen] == [(APPLIED, ["condemned"])] * 3
    got = await api.GetResponse(response_service_pb2.GetResponseRequest(id=answer.response.id))
    assert got.response == answer.response


async def test_freezing_is_watched_too(stage: Stage) -> None:
    link = await stage.connect(capabilities=["kill", "contain"])
    await link.deliver([Kernel().enrol(ROOT)])
    stream = aiter(stage.api().WatchResponses(Watch(agent="rollout")))
    await take(stream, 1)
    freeze = response_service_pb2.FreezeRequest(target=response_pb2.Target(agent="rollout"))
    await asyncio.gather(stage.api().Freeze(freeze), link.answer(partial(applied_first, link)))
    seen = [each.response for each in await take(stream, 3)]
    assert [each.state for each in seen] == [response_pb2.RESPONSE_STATE_REQUESTED, APPLIED, VERIFIED]


async def test_of_one_process_the_host_learns_whom_it_made(stage: Stage) -> None:
    link = await stage.connect(capabilities=["kill", "contain"])
    kernel = Kernel()
    made = [kernel.fork(ROOT, key(101)), kernel.fork(key(101), key(102)), kernel.fork(key(102), key(103))]
    await link.deliver([kernel.enrol(ROOT), *made, kernel.exit(key(102))])
    target = response_pb2.Target()
    target.process.pid = 101
    request = response_service_pb2.IsolateRequest(target=target)
    _, command = await asyncio.gather(stage.api().Isolate(request), link.answer(dead))
    assert [each.pid for each in command.contain.descendants] == [103]


async def test_a_watcher_that_is_behind_sees_each_state_as_it_was(stage: Stage) -> None:
    link = await stage.connect(capabilities=["kill", "contain"])
    await link.deliver([Kernel().enrol(ROOT)])
    freeze = response_service_pb2.FreezeRequest(target=response_pb2.Target(agent="rollout"))
    with stage.plane.hub.watch_responses() as watch:
        await asyncio.gather(stage.api().Freeze(freeze), link.answer(partial(applied_first, link)))
        seen = [news async for news, _ in _counted(watch, 3)]
    assert [each.state for each in seen if each] == [response_pb2.RESPONSE_STATE_REQUESTED, APPLIED, VERIFIED]


async def _counted(stream: Any, count: int) -> AsyncIterator[Any]:
    async with asyncio.timeout(10):
        for number in range(count):
            yield await anext(aiter(stream)), number


async def most(_: sensor_service_pb2.Command) -> Result:
    """A sensor that cannot end one of them yet."""
    response = response_pb2.Response(state=FAILED, killed=1)
    response.survivors.add(why="D state").id.pid = 101
    return Result(response=response)


async def drained(stream: Any) -> list[Any]:
    async with asyncio.timeout(15):
        return [each async for each in stream]


async def test_a_watch_of_one_response_ends_with_it(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT)])
    answer, _ = await asyncio.gather(stage.api().Kill(kill()), link.answer(most))
    stream = aiter(stage.api().WatchResponses(Watch(id=answer.response.id)))
    _, left = await take(stream, 2)
    assert (left.response.state, len(left.response.survivors), left.last) == (FAILED, 1, False)
    await link.deliver([kernel.finish("killed")])
    (rest,) = await drained(stream)
    assert (rest.response.id, rest.response.state, len(rest.response.survivors), rest.last) == (
        answer.response.id, VERIFIED, 0, True,
    )  # fmt: skip
    again = await drained(stage.api().WatchResponses(Watch(id=answer.response.id)))
    assert again[1:] == [rest]


async def test_a_kill_of_one_process_that_failed_is_over(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101))])
    target = response_pb2.Target()
    target.process.pid, target.process.start_time_ns = key(101)
    request = response_service_pb2.KillRequest(target=target)
    answer, _ = await asyncio.gather(stage.api().Kill(request), link.answer(most))
    _, only = await drained(stage.api().WatchResponses(Watch(id=answer.response.id)))
    assert (only.response, only.last) == (answer.response, True)


async def test_kills_that_left_somebody_are_verified_after_a_restart_too(tmp_path: Path) -> None:
    stage, kernel = await Stage(tmp_path).start(), Kernel()
    link = await stage.connect()
    await link.deliver([kernel.enrol(ROOT)])
    made = [(await asyncio.gather(stage.api().Kill(kill()), link.answer(most)))[0].response for _ in range(2)]
    await stage.stop()
    await stage.start()
    try:
        link = await stage.connect()
        stream = aiter(stage.api().WatchResponses(Watch(id=made[0].id)))
        await take(stream, 2)
        await link.deliver([kernel.finish("killed")])
        (rest,) = await drained(stream)
        assert (rest.response.state, rest.last) == (VERIFIED, True)
        async with asyncio.timeout(10):
            while len(told := [each for each in await stage.audited() if each["outcome"] == "verified"]) < 2:
                await asyncio.sleep(0.01)
        assert {each["response"] for each in told} == {each.id for each in made}
    finally:
        await stage.stop()


async def test_a_watch_of_an_agent_brings_what_was_verified_with_its_end(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT)])
    stream = aiter(stage.api().WatchResponses(Watch(agent="rollout")))
    await take(stream, 1)
    await asyncio.gather(stage.api().Kill(kill()), link.answer(most))
    await link.deliver([kernel.finish("killed")])
    *states, end = await drained(stream)
    assert [each.response.state for each in states] == [response_pb2.RESPONSE_STATE_REQUESTED, FAILED, VERIFIED]
    assert end.ended.reason == "it tunnels"


async def test_a_watch_of_an_agent_begins_with_what_was_and_ends_with_it(stage: Stage) -> None:
    link, kernel = await stage.connect(capabilities=["kill", "contain"]), Kernel()
    await link.deliver([kernel.enrol(ROOT)])
    release = response_service_pb2.ReleaseRequest(target=response_pb2.Target(agent="rollout"))
    await asyncio.gather(stage.api().Release(release), link.answer(dead))
    stream = aiter(stage.api().WatchResponses(Watch(agent="rollout", include_existing=True)))
    _, before = await take(stream, 2)
    assert (before.response.action, before.response.state) == (response_pb2.ACTION_RELEASE, VERIFIED)
    await asyncio.gather(stage.api().Kill(kill()), link.answer(dead))
    await link.deliver([kernel.finish("killed")])
    async with asyncio.timeout(15):
        rest = [each async for each in stream]
    assert [each.response.state for each in rest[:-1]] == [response_pb2.RESPONSE_STATE_REQUESTED, VERIFIED]
    assert (rest[-1].ended.name, rest[-1].ended.reason) == ("rollout", "it tunnels")


async def test_watches_that_cannot_be(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    for request, expected in (
        (Watch(id="0"), "NOT_FOUND"),
        (Watch(agent="nobody"), "AGENT_NOT_FOUND"),
        (Watch(id="0", agent="rollout"), "INVALID_ARGUMENT"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await take(aiter(stage.api().WatchResponses(request)), 1)
        assert reason(caught.value) == expected
