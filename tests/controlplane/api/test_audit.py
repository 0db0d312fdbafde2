"""AuditService, and that every call that changes something is audited, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from rubicon.v1 import (
    agent_service_pb2,
    audit_pb2,
    audit_service_pb2,
    coverage_service_pb2,
    event_service_pb2,
    response_pb2,
    response_service_pb2,
    sensor_service_pb2,
)
from tests.controlplane.audit.desk import Hand
from tests.controlplane.builders import AGENT, Kernel, key
from tests.controlplane.stage import Stage, reason, until

ROOT = key(100)
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
LIST = audit_service_pb2.ListAuditRequest


def kill(agent: str = AGENT, **facts: Any) -> response_service_pb2.KillRequest:
    return response_service_pb2.KillRequest(target=response_pb2.Target(agent=agent), reason="because", **facts)


async def dead(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
    return sensor_service_pb2.CommandResult(response=response_pb2.Response(state=VERIFIED, killed=2))


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def told(stage: Stage) -> list[tuple[str, str, str]]:
    """(phase, action, outcome)"""
    return [(one["phase"], one["action"], one["outcome"]) for one in await stage.audited() if one["action"] != "enrol"]


async def test_a_kill_is_audited_before_and_after(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    seen: list[dict[str, Any]] = []

    async def look(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        seen.extend(one for one in await stage.audited() if one["action"] == "kill")
        return await dead(command)

    answer, _ = await asyncio.gather(stage.api(uid=7, pid=8).Kill(kill("rollout")), link.answer(look))
    (asked,) = seen
    assert (asked["phase"], asked["identity"], asked["reason"]) == ("requested", "uid 7 pid 8 @rome", "because")
    assert (asked["target"], asked["agent"]) == (f"agent rollout ({AGENT})", AGENT)
    done = (await stage.audited())[-1]
    assert (done["phase"], done["request"], done["outcome"]) == ("result", asked["sequence"], "verified")
    assert (done["response"], done["detail"]) == (answer.response.id, "2 processes killed")


async def test_each_refusal_with_its_reason(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    assert await refused(stage.api(pid=ROOT.pid, start=ROOT.start_time_ns).Kill(kill())) == "CALLER_IS_AGENT"
    assert await refused(stage.api().Kill(kill("nobody"))) == "AGENT_NOT_FOUND"
    assert await refused(stage.api().FinishAgent(agent_service_pb2.FinishAgentRequest())) == "INVALID_ARGUMENT"
    stranger = stage.api()
    stranger._metadata = (("authorization", "Bearer forged"),)
    assert await refused(stranger.Kill(kill())) == "UNAUTHENTICATED"
    events = event_service_pb2.StreamEventsRequest(agent=AGENT, show_secrets=True)
    with pytest.raises(grpc.aio.AioRpcError):
        await stage.api(uid=1000).StreamEvents(events).read()
    assert await told(stage) == [
        ("refused", "kill", "CALLER_IS_AGENT"),
        ("requested", "kill", ""),
        ("result", "kill", "AGENT_NOT_FOUND"),
        ("requested", "finish", ""),
        ("result", "finish", "INVALID_ARGUMENT"),
        ("refused", "kill", "UNAUTHENTICATED"),
        ("refused", "show-secrets", "PERMISSION_DENIED"),
    ]


async def test_a_dry_run_says_that_it_was_one(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])

    async def look(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        members = [response_pb2.Member(comm="x")]
        return sensor_service_pb2.CommandResult(response=response_pb2.Response(state=VERIFIED, members=members))

    await asyncio.gather(stage.api().Kill(kill(dry_run=True)), link.answer(look))
    asked, done = (await stage.audited())[-2:]
    assert asked["target"].endswith("(dry run)")
    assert (done["outcome"], done["detail"]) == ("dry run", "1 processes would be touched")


async def test_a_caller_that_hangs_up_stops_neither_the_kill_nor_its_record(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel().enrol(ROOT)])
    call = stage.api().Kill(kill())

    async def hang_up(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        call.cancel()
        await asyncio.sleep(0.1)
        return await dead(command)

    await link.answer(hang_up)
    async with asyncio.timeout(10):
        while len(found := await told(stage)) < 2:
            await asyncio.sleep(0.01)
    assert found == [("requested", "kill", ""), ("result", "kill", "verified")]


async def test_a_plane_that_dies_in_between_leaves_a_request_and_its_successor_the_result(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        link = await stage.connect()
        await link.deliver([Kernel().enrol(ROOT)])
        call = stage.api(uid=7, pid=8).Kill(kill())
        await link.commands.get()
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.gather(call, stage.plane.responder.stop())
        before = await stage.audited()
        assert [one["outcome"] for one in before[1:]] == ["", "STORE_UNAVAILABLE"]
    async with Stage(tmp_path) as stage:
        link = await stage.connect()
        await link.answer(dead)
        async with asyncio.timeout(10):
            while len(after := await stage.audited()) == len(before):
                await asyncio.sleep(0.01)
        done = after[-1]
        assert (done["phase"], done["outcome"], done["identity"]) == ("result", "verified", "uid 7 pid 8 @rome")
        assert (done["request"], done["reason"]) == (before[1]["sequence"], "because")


@pytest.mark.parametrize("state", ["applied", "failed"])
async def test_a_survivor_that_dies_later_is_audited_later(stage: Stage, state: str) -> None:
    link, kernel = await stage.connect(), Kernel()
    await link.deliver([kernel.enrol(ROOT)])

    async def most(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        response = response_pb2.Response(killed=1)
        response.state = response_pb2.ResponseState.Value(f"RESPONSE_STATE_{state.upper()}")
        response.survivors.add(why="D state").id.pid = 101
        return sensor_service_pb2.CommandResult(response=response)

    await asyncio.gather(stage.api().Kill(kill()), link.answer(most))
    await link.deliver([kernel.finish("killed")])
    async with asyncio.timeout(10):
        while len(found := await told(stage)) < 3:
            await asyncio.sleep(0.01)
    assert [outcome for *_, outcome in found] == ["", state, "verified"]
    applied, verified = (await stage.audited())[-2:]
    assert "101 is left: D state" in applied["detail"]
    assert applied["request"] == verified["request"] == applied["sequence"] - 1


async def test_a_hundred_calls_at_once_are_one_chain(stage: Stage) -> None:
    apis = [stage.api(pid=number) for number in range(1, 5)]
    names = [agent_service_pb2.CreateAgentRequest(name=f"n{number}") for number in range(100)]
    await asyncio.gather(*(apis[place % 4].CreateAgent(name) for place, name in enumerate(names)))
    bodies = await stage.audited(noted=True)
    assert [body["sequence"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert [(await told(stage)).count((phase, "create", outcome)) for phase, outcome in (
        ("requested", ""), ("result", "ok"),
    )] == [100, 100]  # fmt: skip
    report = (await stage.api().VerifyAudit(audit_service_pb2.VerifyAuditRequest())).report
    assert (list(report.faults), report.records, report.covered) == ([], len(bodies), len(bodies))


async def test_an_action_waits_for_no_locked_database_longer_than_a_second(stage: Stage, tmp_path: Path) -> None:
    link = await stage.connect()
    hand = Hand(tmp_path)
    hand.run("BEGIN IMMEDIATE")

    async def answer(_: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
        return sensor_service_pb2.CommandResult(error_reason="INVALID_ARGUMENT", error="no")

    probe = stage.api().ProbePipeline(coverage_service_pb2.ProbePipelineRequest())
    async with asyncio.timeout(3):
        await link.answer(answer)
    assert await refused(probe) == "INVALID_ARGUMENT"
    hand.run("ROLLBACK")
    assert [phase for phase, *_ in await told(stage)] == ["requested", "result"]


async def test_paging_filters_and_one_record(stage: Stage) -> None:
    for number in range(5):
        await stage.api(uid=number).CreateAgent(agent_service_pb2.CreateAgentRequest(name=f"n{number}"))
    api = stage.api()
    found: list[audit_pb2.AuditRecord] = []
    token = ""
    while True:
        page = await api.ListAudit(LIST(page_size=3, page_token=token))
        assert len(page.records) <= 3
        found += page.records
        token = page.next_page_token
        if not token:
            break
    assert [record.sequence for record in found] == list(range(len(found), 0, -1))
    assert found[0].phase == audit_pb2.AUDIT_PHASE_RESULT
    assert found[-1].phase == audit_pb2.AUDIT_PHASE_NOTED
    (only,) = (await api.ListAudit(LIST(agent="n3"))).records
    assert (only.action, only.outcome, only.identity) == ("create", "ok", "uid 3 pid 4242 @rome")
    assert len((await api.ListAudit(LIST(identity="uid 2 "))).records) == 2
    assert not (await api.ListAudit(LIST(identity="%"))).records
    assert not (await api.ListAudit(LIST(action="kill"))).records
    assert len((await api.ListAudit(LIST(since=found[2].time))).records) == 3
    assert len((await api.ListAudit(LIST(until=found[2].time))).records) == len(found) - 3
    assert not (await api.ListAudit(LIST(until=Timestamp(seconds=1)))).records
    one = await api.GetAudit(audit_service_pb2.GetAuditRequest(sequence=only.sequence))
    assert one.record == only
    assert [record.sequence for record in one.related] == [only.request]
    asked = await api.GetAudit(audit_service_pb2.GetAuditRequest(sequence=only.request))
    assert list(asked.related) == [only]
    for number in (0, 10**6, 2**64 - 1):
        assert await refused(api.GetAudit(audit_service_pb2.GetAuditRequest(sequence=number))) == "NOT_FOUND"
    assert await refused(api.ListAudit(LIST(agent="nobody"))) == "AGENT_NOT_FOUND"
    assert await refused(api.ListAudit(LIST(page_size=-1))) == "INVALID_ARGUMENT"
    assert await refused(api.ListAudit(LIST(page_token="what"))) == "INVALID_ARGUMENT"
    short = audit_service_pb2.VerifyAuditRequest(public_keys=[b"short"])
    assert await refused(api.VerifyAudit(short)) == "INVALID_ARGUMENT"


async def test_a_start_is_noted_with_its_rules_and_a_new_key(stage: Stage) -> None:
    new, start = await stage.audited(noted=True)
    assert (new["action"], new["target"]) == ("key", stage.plane.audit.notary.fingerprint)
    assert (start["action"], start["detail"]) == ("start", "rules: none")


async def test_verify_finds_what_was_cut_a_moment_ago(stage: Stage, tmp_path: Path) -> None:
    await stage.api().CreateAgent(agent_service_pb2.CreateAgentRequest(name="mine"))
    await stage.plane.audit.settle()
    hand = Hand(tmp_path)
    hand.cut(3, checkpoints=True)
    report = (await stage.api().VerifyAudit(audit_service_pb2.VerifyAuditRequest())).report
    assert [(fault.first, fault.last) for fault in report.faults] == [(4, 4)]
    await until(lambda: stage.plane.audit.notary.file.exists(), "it is signed")
