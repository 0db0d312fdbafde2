"""Who may call what, and how a refusal looks."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rubicon.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    event_service_pb2,
    response_pb2,
    response_service_pb2,
)
from tests.controlplane.builders import AGENT, Kernel, key
from tests.controlplane.stage import Api, Stage, reason

LIST = agent_service_pb2.ListAgentsRequest()
ROOT = key(100)


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason(caught.value)


async def test_no_token(stage: Stage) -> None:
    stub = agent_service_pb2_grpc.AgentServiceStub(stage.channel())
    assert await refused(stub.ListAgents(LIST)) == "UNAUTHENTICATED"
    for wrong in ("", "Bearer", "Bearer x.y.z", f"Basic {stage.token()}", f"Bearer {stage.token()}x"):
        assert await refused(stub.ListAgents(LIST, metadata=(("authorization", wrong),))) == "UNAUTHENTICATED"


async def test_expired(stage: Stage) -> None:
    assert await refused(stage.api(ttl=-30).ListAgents(LIST)) == "TOKEN_EXPIRED"


async def test_a_sensors_token_is_not_for_the_api(stage: Stage) -> None:
    assert await refused(stage.api(audience="sensor").ListAgents(LIST)) == "UNAUTHENTICATED"


async def test_streams_are_guarded_too(stage: Stage) -> None:
    request = event_service_pb2.StreamEventsRequest()
    assert await refused(anext(aiter(stage.api(ttl=-30).StreamEvents(request)))) == "TOKEN_EXPIRED"


async def test_members_of_the_group_may_act(stage: Stage) -> None:
    created = await stage.api(uid=1000).CreateAgent(agent_service_pb2.CreateAgentRequest(name="mine"))
    assert created.agent.name == "mine"


async def test_an_agents_process_may_look_and_change_nothing(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.fork(ROOT, key(101)), kernel.fork(ROOT, key(102))])
    await link.deliver([kernel.exit(key(102))])
    inside = stage.api(pid=101, start=101_000)
    assert [a.id for a in (await inside.ListAgents(LIST)).agents] == [AGENT]
    kill = response_service_pb2.KillRequest(target=response_pb2.Target(agent=AGENT))
    assert await refused(inside.Kill(kill)) == "CALLER_IS_AGENT"
    create = agent_service_pb2.CreateAgentRequest()
    assert await refused(inside.CreateAgent(create)) == "CALLER_IS_AGENT"
    assert (await stage.api(pid=101, start=7).CreateAgent(create)).agent.id, "a reused pid is somebody else"
    assert (await stage.api(pid=102, start=102_000).CreateAgent(create)).agent.id, "it has ended"


async def test_secrets_are_for_root(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT, command=["x", "--token", "s3"]), kernel.exec(ROOT, "x", "--token", "s3")])
    hidden = agent_service_pb2.GetAgentTreeRequest(agent="rollout")
    shown = agent_service_pb2.GetAgentTreeRequest(agent="rollout", show_secrets=True)
    tree = await stage.api(uid=1000).GetAgentTree(hidden)
    assert list(tree.processes[0].argv) == ["x", "--token", "***"]
    assert list(tree.agent.command) == ["x", "--token", "***"]
    assert await refused(stage.api(uid=1000).GetAgentTree(shown)) == "PERMISSION_DENIED"
    assert list((await stage.api().GetAgentTree(shown)).processes[0].argv) == ["x", "--token", "s3"]


async def test_what_changes_something_is_audited(stage: Stage) -> None:
    await stage.api(uid=1000, pid=77).CreateAgent(agent_service_pb2.CreateAgentRequest(name="mine"))
    taken = stage.api(uid=1000).CreateAgent(agent_service_pb2.CreateAgentRequest(name="mine"))
    assert await refused(taken) == "AGENT_NAME_TAKEN"
    await stage.api().ListAgents(LIST)
    first, made, second, failed = await stage.audited()
    assert [one["phase"] for one in (first, made, second, failed)] == ["requested", "result"] * 2
    assert {one["action"] for one in (first, made, second, failed)} == {"create"}
    assert (made["outcome"], failed["outcome"]) == ("ok", "AGENT_NAME_TAKEN")
    assert (made["request"], failed["request"]) == (first["sequence"], second["sequence"])
    assert first["identity"] == made["identity"] == "uid 1000 pid 77 @rome"
    assert "mine" in first["target"]
    assert len(str(made["agent"])) == 12


async def test_a_defect_is_internal_and_says_nothing_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.plane.store.entities, "agents", lambda **_: 1 / 0)
    assert await refused(stage.api().ListAgents(LIST)) == "INTERNAL"


async def test_health_needs_no_token(stage: Stage) -> None:
    stub = health_pb2_grpc.HealthStub(stage.channel())
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_unknown_method(stage: Stage) -> None:
    call = stage.channel().unary_unary("/rubicon.v1.AgentService/NoSuch")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_malformed_request(stage: Stage) -> None:
    call = stage.channel().unary_unary("/rubicon.v1.AgentService/ListAgents")
    token = (("authorization", f"Bearer {stage.token()}"),)
    assert await refused(call(b"\xff\xff\xff", metadata=token)) == "INVALID_ARGUMENT"


def test_every_changing_method_is_known() -> None:
    """A new method must be placed: it reads (Get, List, Watch, Stream) or it is in MUTATING."""
    from controlplane.api.guard import MUTATING

    assert Api  # the stubs below are the ones that callers have
    services = [
        service
        for module in ("agent", "alert", "event", "response", "coverage", "policy")
        for service in __import__(
            f"rubicon.v1.{module}_service_pb2", fromlist=["x"]
        ).DESCRIPTOR.services_by_name.values()
    ]
    methods = {method.name for service in services for method in service.methods}
    reading = {name for name in methods if name.startswith(("Get", "List", "Watch", "Stream"))}
    assert methods - reading == MUTATING
