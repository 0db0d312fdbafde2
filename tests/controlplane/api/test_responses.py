"""ResponseService, and policy's kill across a death of the plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from rubicon.v1 import agent_pb2, agent_service_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tunnel
from tests.controlplane.stage import Stage, reason

ROOT = key(100)
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
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
