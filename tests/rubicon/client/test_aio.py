"""The client for asyncio: the same answers, and streams that end when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rubicon.client import Alert, AsyncClient, errors
from rubicon.v1 import event_pb2
from tests.controlplane.builders import AGENT, Kernel, key, tunnel
from tests.rubicon.world import Command, Result, World

ROOT, CHILD = key(100), key(101)


@pytest.fixture
async def client(world: World) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(world.instance) as made:
        yield made


async def test_an_agent_from_its_making_to_its_end(world: World, client: AsyncClient) -> None:
    agent = await client.agents.create("rollout-7", labels={"episode": "7"})
    kernel = Kernel(agent=agent.id)

    async def work(command: Command) -> Result:
        assert world.link
        if command.HasField("enrol"):
            await world.link.send([kernel.enrol(ROOT, name="rollout-7"), kernel.exec(ROOT, "bash")])
        elif command.HasField("probe"):
            await world.link.send([Kernel("", 80).event(None, probe=event_pb2.Probe(token=command.probe.token))])
        else:
            await world.link.send([kernel.finish("detached")])
        return Result()

    world.obey = work
    await asyncio.to_thread(world.connect)
    running = await agent.enrol(pid=ROOT.pid)
    assert running.state == "running"
    assert (await client.agents.connect("rollout-7")).id == agent.id
    assert [each.id async for each in client.agents.list()] == [agent.id]
    assert 0 < await client.probe() < 10
    assert await client.healthy()
    assert [each.host for each in await client.coverage()] == ["rome"]
    assert [process.pid for process in await running.tree()] == [ROOT.pid]
    assert (await running.finish(detach=True)).state == "finished"
    assert (await agent.refresh()).state == "finished"
    with pytest.raises(errors.AgentEnded):
        await client.agents.connect(agent.id)
    with pytest.raises(errors.AgentNotFound, match="nobody"):
        await client.agents.get("nobody")
    with pytest.raises(errors.InvalidArgument):
        await agent.enrol()


async def test_alerts_events_and_kill(world: World, client: AsyncClient) -> None:
    kernel = Kernel()
    await asyncio.to_thread(world.deliver, [kernel.enrol(ROOT), kernel.fork(ROOT, CHILD), *tunnel(kernel, CHILD)])
    agent = await client.agents.get("rollout")
    worst = [each async for each in agent.alerts(min_severity="high")]
    assert [each.detector for each in worst] == ["ssh-remote-forward"]
    assert await client.alerts.get(worst[0].id) == worst[0]
    kinds = [event.kind async for event in agent.events(kinds=("exec", "fork"))]
    assert kinds == ["fork", "exec"]
    async for alert in agent.watch(min_severity="high"):
        response = await agent.kill(reason=alert.title)
        break
    assert (response.verified, response.reason) == (True, worst[0].title)
    assert [each.id async for each in agent.responses()] == [response.id]
    assert [each.id async for each in client.responses(AGENT)] == [response.id]
    assert [each async for each in client.watch_responses(response_id=response.id)] == [response]
    assert [each.state async for each in client.agents.list(all=True)] == ["killed"]
    assert (await client.process(CHILD.pid).kill()).verified


async def test_many_calls_at_once(world: World, client: AsyncClient) -> None:
    made = await asyncio.gather(*(client.agents.create(f"a{number}") for number in range(40)))
    assert len({agent.id for agent in made}) == 40
    assert {agent.name async for agent in client.agents.list()} == {f"a{number}" for number in range(40)}


async def test_a_cancelled_watch_leaves_nothing_behind(world: World, client: AsyncClient) -> None:
    kernel = Kernel()
    await asyncio.to_thread(world.deliver, [kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    began = asyncio.Event()

    async def watch() -> None:
        async for _ in client.alerts.watch(existing=True):
            began.set()

    task = asyncio.create_task(watch())
    async with asyncio.timeout(10):
        await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [agent.name async for agent in client.agents.list()] == ["rollout"]


async def test_closing_ends_streams_and_further_calls_say_so(world: World) -> None:
    client = AsyncClient(world.instance)
    kernel = Kernel()
    await asyncio.to_thread(world.deliver, [kernel.enrol(ROOT), *tunnel(kernel, ROOT)])
    seen: asyncio.Queue[Alert] = asyncio.Queue()

    async def watch() -> None:
        async for alert in client.alerts.watch(existing=True):
            await seen.put(alert)

    task = asyncio.create_task(watch())
    async with asyncio.timeout(10):
        await seen.get()
        await client.close()
        await task
    with pytest.raises(errors.RubiconUnreachable, match="closed"):
        await client.coverage()


async def test_nobody_answers(world: World, client: AsyncClient) -> None:
    world.stop_plane()
    assert not await client.healthy()
    with pytest.raises(errors.RubiconUnreachable, match="control plane does not answer") as caught:
        await client.coverage()
    assert "kill --local" in caught.value.hint
    world.start_plane()
