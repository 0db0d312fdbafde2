"""AgentService with a sensor that the test plays."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rubicon.v1 import agent_pb2, agent_service_pb2, process_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key
from tests.controlplane.stage import Stage, reason

ROOT = key(100)
Result = sensor_service_pb2.CommandResult


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return reason(caught.value)


def create(name: str = "", **facts: object) -> agent_service_pb2.CreateAgentRequest:
    return agent_service_pb2.CreateAgentRequest(name=name, **facts)  # type: ignore[arg-type]


def get(agent: str) -> agent_service_pb2.GetAgentRequest:
    return agent_service_pb2.GetAgentRequest(agent=agent)


def enrol(agent: str, pid: int = 100, host: str = "") -> agent_service_pb2.EnrolAgentRequest:
    return agent_service_pb2.EnrolAgentRequest(agent=agent, host=host, process=process_pb2.ProcessKey(pid=pid))


async def test_create(stage: Stage) -> None:
    api = stage.api()
    agent = (await api.CreateAgent(create("mine", labels={"run": "7"}, on_alert="kill"))).agent
    assert (agent.name, agent.state, dict(agent.labels)) == ("mine", agent_pb2.AGENT_STATE_PENDING, {"run": "7"})
    assert agent.on_alert == "kill"
    assert len(agent.id) == 12
    assert (await api.CreateAgent(create())).agent.name.startswith("agent-")


@pytest.mark.parametrize(
    "request_",
    [
        create("a/b"),
        create("x" * 64),
        create("4242"),
        create("pid:4242"),
        create("0123456789ab"),
        create(on_alert="explode"),
        create(labels={"": "v"}),
        create(labels={"k": "v" * 1025}),
        create(labels={str(n): "" for n in range(65)}),
    ],
)
async def test_create_refuses(stage: Stage, request_: agent_service_pb2.CreateAgentRequest) -> None:
    assert await refused(stage.api().CreateAgent(request_)) == "INVALID_ARGUMENT"


async def test_a_name_is_unique_among_the_living(stage: Stage) -> None:
    api = stage.api()
    both = await asyncio.gather(
        api.CreateAgent(create("mine")), api.CreateAgent(create("mine")), return_exceptions=True
    )
    assert sorted(isinstance(one, grpc.aio.AioRpcError) for one in both) == [False, True]
    await api.FinishAgent(agent_service_pb2.FinishAgentRequest(agent="mine"))
    again = (await api.CreateAgent(create("mine"))).agent
    assert (await api.GetAgent(get("mine"))).agent.id == again.id, "the living one is meant"


async def test_enrol(stage: Stage) -> None:
    api = stage.api(pid=7, uid=1000)
    link = await stage.connect()
    agent = (await api.CreateAgent(create("mine", labels={"run": "7"}))).agent
    kernel = Kernel(agent.id)

    async def work(command: sensor_service_pb2.Command) -> Result:
        facts = command.enrol.enrol
        assert command.enrol.agent_id == agent.id
        assert (facts.name, dict(facts.labels), facts.on_alert) == ("mine", {"run": "7"}, "monitor")
        assert facts.enrolled_by == "uid 1000 pid 7 @rome"
        await link.send([kernel.enrol(ROOT, name=facts.name, labels=facts.labels, on_alert=facts.on_alert)])
        return Result()

    response, _ = await asyncio.gather(api.EnrolAgent(enrol("mine")), link.answer(work))
    assert (response.agent.state, response.agent.host) == (agent_pb2.AGENT_STATE_RUNNING, HOST.host)
    assert dict(response.agent.labels) == {"run": "7"}


async def test_enrol_refused_by_the_sensor(stage: Stage) -> None:
    api = stage.api()
    link = await stage.connect()
    await api.CreateAgent(create("mine"))

    async def work(_: sensor_service_pb2.Command) -> Result:
        return Result(error_reason="ERROR_REASON_PROCESS_NOT_FOUND", error="no process 100")

    call = asyncio.create_task(refused(api.EnrolAgent(enrol("mine"))))
    await link.answer(work)
    assert await call == "PROCESS_NOT_FOUND"


async def test_enrol_without_a_sensor_or_a_target(stage: Stage) -> None:
    api = stage.api()
    await api.CreateAgent(create("mine"))
    assert await refused(api.EnrolAgent(enrol("mine"))) == "SENSOR_UNREACHABLE"
    await stage.connect()
    assert await refused(api.EnrolAgent(enrol("mine", host="paris"))) == "SENSOR_UNREACHABLE"
    assert await refused(api.EnrolAgent(enrol("mine", pid=0))) == "INVALID_ARGUMENT"
    assert await refused(api.EnrolAgent(enrol("nobody"))) == "AGENT_NOT_FOUND"
    assert await refused(api.EnrolAgent(enrol(""))) == "INVALID_ARGUMENT"


async def test_the_sensor_goes_away_in_the_middle(stage: Stage) -> None:
    api = stage.api()
    link = await stage.connect()
    await api.CreateAgent(create("mine"))
    call = asyncio.create_task(refused(api.EnrolAgent(enrol("mine"))))
    await link.commands.get()
    await link.close()
    assert await call == "SENSOR_UNREACHABLE"


async def test_get_by_id_prefix_and_name(stage: Stage) -> None:
    link = await stage.connect()
    await link.deliver([Kernel("aaaa11112222").enrol(ROOT, name="one")])
    await link.deliver([Kernel("aaaa11113333", epoch=78).enrol(key(200), name="two")])
    api = stage.api()
    for text in ("aaaa11112222", "aaaa11112", "one"):
        assert (await api.GetAgent(get(text))).agent.name == "one"
    for text in ("aaaa1111", "aaa", "three", "zzzz"):
        assert await refused(api.GetAgent(get(text))) == "AGENT_NOT_FOUND"


async def test_list_pages_and_labels(stage: Stage) -> None:
    api = stage.api()
    for n in range(7):
        await api.CreateAgent(create(f"a{n}", labels={"odd": str(n % 2)}))
    await api.FinishAgent(agent_service_pb2.FinishAgentRequest(agent="a3"))
    names, token = [], ""
    while True:
        page = await api.ListAgents(agent_service_pb2.ListAgentsRequest(page_size=2, page_token=token))
        assert len(page.agents) <= 2
        names += [agent.name for agent in page.agents]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a6", "a5", "a4", "a2", "a1", "a0"]
    odd = agent_service_pb2.ListAgentsRequest(all=True, labels={"odd": "1"})
    assert [a.name for a in (await api.ListAgents(odd)).agents] == ["a5", "a3", "a1"]
    for wrong in ({"page_token": "!!"}, {"page_token": "AAAA"}, {"page_size": -1}):
        request = agent_service_pb2.ListAgentsRequest(**wrong)  # type: ignore[arg-type]
        assert await refused(api.ListAgents(request)) == "INVALID_ARGUMENT"


async def test_finish(stage: Stage) -> None:
    api = stage.api()
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT)])

    async def work(command: sensor_service_pb2.Command) -> Result:
        assert command.finish.agent_id == AGENT
        assert command.finish.detach
        await link.send([kernel.finish("finished")])
        return Result()

    finish = agent_service_pb2.FinishAgentRequest(agent="rollout", detach=True)
    response, _ = await asyncio.gather(api.FinishAgent(finish), link.answer(work))
    assert response.agent.state == agent_pb2.AGENT_STATE_FINISHED
    assert await refused(api.FinishAgent(finish)) == "AGENT_ENDED"
    assert await refused(api.EnrolAgent(enrol(AGENT))) == "AGENT_ENDED"


async def test_tree(stage: Stage) -> None:
    link = await stage.connect()
    kernel = Kernel()
    await link.deliver([kernel.enrol(ROOT), kernel.exec(ROOT, "bash"), kernel.fork(ROOT, key(101))])
    await link.deliver([kernel.exec(key(101), "ls"), kernel.fork(key(101), key(102)), kernel.exit(key(101), status=3)])
    api = stage.api()
    living = await api.GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent=AGENT))
    assert [p.id.pid for p in living.processes] == [100, 102]
    whole = await api.GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent=AGENT, all=True))
    assert [(p.id.pid, p.parent_pid, p.status) for p in whole.processes] == [(100, 0, 0), (101, 100, 3), (102, 101, 0)]
    assert (whole.agent.processes, whole.agent.processes_total) == (2, 3)
