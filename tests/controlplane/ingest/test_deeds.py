"""What was done at a sensor while the plane was dead is audited when its event comes up, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.audit.record import rfc3339
from rubicon.v1 import agent_service_pb2, event_pb2, response_pb2, response_service_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, SENSOR, Kernel, key, wire_key
from tests.controlplane.stage import Stage

ROOT = key(100)
BY = "uid 0 pid 9 @rome"
ID = "00000000000000aa"


def contain(kernel: Kernel, action: int, **facts: Any) -> event_pb2.Event:
    said = {"response_id": ID, "reason": "it tunnels", "requested_by": BY, **facts}
    return kernel.event(None, SENSOR, contain=event_pb2.Contain(action=action, **said))  # type: ignore[arg-type]


async def reported(stage: Stage) -> list[dict[str, Any]]:
    return [one for one in await stage.audited() if one["phase"] == "reported"]


@pytest.mark.parametrize(
    ("action", "facts", "word", "detail"),
    [
        (response_pb2.ACTION_FREEZE, {"frozen": True}, "freeze", "now frozen"),
        (response_pb2.ACTION_ISOLATE, {"frozen": True, "isolated": True}, "isolate", "now frozen and isolated"),
        (response_pb2.ACTION_RELEASE, {}, "release", "now neither frozen nor isolated"),
        (response_pb2.ACTION_KILL, {}, "kill", "now neither frozen nor isolated"),
    ],
)
async def test_by_the_local_socket(stage: Stage, action: int, facts: dict[str, bool], word: str, detail: str) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT, enrolled_by=BY), contain(kernel, action, **facts)])
    enrolled, done = await reported(stage)
    assert (enrolled["action"], enrolled["identity"], enrolled["agent"]) == ("enrol", BY, AGENT)
    assert (done["action"], done["identity"], done["agent"], done["response"]) == (word, BY, AGENT, ID)
    assert (done["reason"], done["outcome"]) == ("it tunnels", "ok")
    wall_ns = kernel.now + HOST.clock_offset_ns
    assert done["detail"] == f"done at {rfc3339(wall_ns)}; {detail}"
    assert AGENT in done["target"]


async def test_a_process_with_its_descendants(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT)])
    await link.deliver([contain(kernel, response_pb2.ACTION_KILL, process=wire_key(key(101)))])
    assert (await reported(stage))[-1]["target"] == f"process 101 of agent rollout ({AGENT}) with its descendants"


async def test_its_time_was_over(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    over = {"requested_by": "rubicon-sensor", "response_id": "", "reason": "its time was over"}
    await link.deliver([kernel.enrol(ROOT), contain(kernel, response_pb2.ACTION_RELEASE, **over)])
    done = (await reported(stage))[-1]
    assert (done["action"], done["identity"], done["reason"]) == (
        "release",
        "rubicon-sensor @rome",
        "its time was over",
    )


async def test_finished_by_hand(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    finish = event_pb2.Finish(reason="finished", requested_by=BY)
    await link.deliver([kernel.enrol(ROOT), kernel.event(None, SENSOR, finish=finish)])
    assert [(one["action"], one["identity"]) for one in (await reported(stage))[1:]] == [("finish", BY)]


async def test_what_is_only_told_again_is_no_deed(stage: Stage) -> None:
    link, kernel = await stage.connect(), Kernel()
    again = contain(kernel, response_pb2.ACTION_UNSPECIFIED, frozen=True, requested_by="", reason="in force")
    await link.deliver([kernel.enrol(ROOT), again, kernel.finish("killed")])
    assert [one["action"] for one in await reported(stage)] == ["enrol"]


async def test_what_the_plane_asked_for_is_audited_already(stage: Stage) -> None:
    link, kernel = await stage.connect(capabilities=["enrol", "kill", "finish", "probe", "contain"]), Kernel()
    api = stage.api()
    agent = (await api.CreateAgent(agent_service_pb2.CreateAgentRequest(name="mine"))).agent
    mine = Kernel(agent.id)
    await link.deliver([kernel.enrol(ROOT, name="other")])

    async def enrol(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        mine.epoch = 78
        await link.send([mine.enrol(key(200), name="mine", enrolled_by=BY)])
        return sensor_service_pb2.CommandResult()

    async def freeze(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        asked = command.contain
        facts = {"response_id": asked.response_id, "requested_by": asked.requested_by, "frozen": True}
        await link.deliver([contain(mine, response_pb2.ACTION_FREEZE, **facts)])
        done = response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED)
        return sensor_service_pb2.CommandResult(response=done)

    request = agent_service_pb2.EnrolAgentRequest(agent="mine", process=wire_key(key(200)))
    call = api.EnrolAgent(request)
    await link.answer(enrol)
    await call
    frozen = api.Freeze(response_service_pb2.FreezeRequest(target=response_pb2.Target(agent="mine")))
    await link.answer(freeze)
    await frozen
    assert [one["agent"] for one in await reported(stage)] == [AGENT], "the one that nobody asked the plane for"
    done = [(one["action"], one["outcome"]) for one in await stage.audited() if one["phase"] == "result"]
    assert done == [("create", "ok"), ("enrol", "ok"), ("freeze", "verified")]


async def test_once_also_when_the_batch_comes_again(tmp_path: Path) -> None:
    kernel = Kernel()
    batch = [kernel.enrol(ROOT), contain(kernel, response_pb2.ACTION_FREEZE, frozen=True)]
    async with Stage(tmp_path) as stage:
        await (await stage.connect()).deliver(batch)
        assert len(await reported(stage)) == 2
    async with Stage(tmp_path) as stage:
        link = await stage.connect()
        await link.deliver(batch)
        await link.deliver(batch)
        assert len(await reported(stage)) == 2
