"""Whatever waits for an agent ends with it, and says why when it was killed: sync and asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import rubicon
from rubicon.client import AsyncClient, Client
from rubicon.client.errors import AgentEnded, AgentKilledError, RubiconUnreachable
from rubicon.v1 import response_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tunnel
from tests.rubicon.world import Command, Result, World

ROOT = key(100)
WAITS: dict[str, Callable[[Any], Any]] = {
    "wait": lambda agent: agent.wait(),
    "watch": lambda agent: list(agent.watch()),
    "watch of the client": lambda agent: list(agent.client.alerts.watch(agent.id)),
    "events": lambda agent: list(agent.events(follow=True)),
}
AIO: dict[str, Callable[[Any], Any]] = {
    "wait": lambda agent: agent.wait(),
    "watch": lambda agent: _all(agent.watch()),
    "events": lambda agent: _all(agent.events(follow=True)),
}


async def _all(stream: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in stream]


@pytest.fixture
async def aio(world: World) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(world.instance) as made:
        yield made


def kernel_now() -> Kernel:
    return Kernel(start_ns=time.time_ns() - HOST.clock_offset_ns)


class Waiter:
    """Waits in a thread."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None

        def run() -> None:
            try:
                self.result = wait()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def done(self) -> Waiter:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self


def begin(world: World, kernel: Kernel, on_alert: str = "monitor") -> None:
    async def dead(command: Command) -> Result:
        assert world.link
        assert command.HasField("kill")
        await world.link.send([kernel.finish("killed")])
        return Result(response=response_pb2.Response(state=response_pb2.RESPONSE_STATE_VERIFIED, killed=1))

    world.obey = dead
    world.deliver([kernel.enrol(ROOT, on_alert=on_alert)])


@pytest.mark.parametrize("name", WAITS)
def test_a_kill_by_hand_is_raised_where_somebody_waits(world: World, client: Client, name: str) -> None:
    begin(world, kernel_now())
    agent = client.agents.get(AGENT)
    waiter = Waiter(lambda: WAITS[name](agent))
    agent.kill(reason="a hand")
    error = waiter.done().error
    assert isinstance(error, AgentKilledError)
    assert (error.reason, error.alert_id, error.agent) == ("a hand", "", "rollout")
    assert str(error) == "agent rollout was killed: a hand"


def test_a_kill_for_an_alert_names_it(world: World, client: Client) -> None:
    kernel = kernel_now()
    begin(world, kernel, on_alert="kill")
    agent = client.agents.get(AGENT)
    waiter = Waiter(agent.wait)
    world.deliver(tunnel(kernel, ROOT))
    error = waiter.done().error
    assert isinstance(error, rubicon.AgentKilledError)
    alert = client.alerts.get(error.alert_id)
    assert (alert.detector, alert.response) == ("ssh-remote-forward", "kill")
    assert error.reason == f"{alert.detector}: {alert.title} ({alert.severity})"
    assert "rubicon alerts rollout" in error.hint
    after = agent.refresh()
    assert (after.state, after.reason, after.alert_id) == ("killed", error.reason, error.alert_id)
    with pytest.raises(AgentKilledError) as caught:
        client.agents.connect("rollout")
    assert (caught.value.reason, caught.value.alert_id) == (error.reason, error.alert_id)
    assert isinstance(caught.value, AgentEnded)


@pytest.mark.parametrize("name", WAITS)
def test_an_agent_that_ends_by_itself_just_ends_it(world: World, client: Client, name: str) -> None:
    kernel = kernel_now()
    begin(world, kernel)
    agent = client.agents.get(AGENT)
    waiter = Waiter(lambda: WAITS[name](agent))
    world.deliver([*tunnel(kernel, ROOT), kernel.finish("exited")])
    assert waiter.done().error is None
    if name == "wait":
        assert (waiter.result.id, waiter.result.state) == (AGENT, "finished")


def test_waiting_has_a_limit_and_outlives_the_plane(world: World, client: Client) -> None:
    kernel = kernel_now()
    begin(world, kernel)
    agent = client.agents.get(AGENT)
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.3 s"):
        agent.wait(timeout=0.3)
    assert time.monotonic() - begun < 5
    with pytest.raises(TimeoutError):
        agent.wait(timeout=0)
    waiter = Waiter(lambda: agent.wait(timeout=30))
    while not world.stage.plane.hub.followers:
        time.sleep(0.01)
    world.stop_plane()
    world.start_plane()
    world.connect()
    world.deliver([kernel.finish("exited")])
    assert waiter.done().result.state == "finished"


def test_closing_ends_a_wait(world: World, client: Client) -> None:
    begin(world, kernel_now())
    agent = client.agents.get(AGENT)
    waiter = Waiter(agent.wait)
    while not world.stage.plane.hub.followers:
        time.sleep(0.01)
    client.close()
    assert isinstance(waiter.done().error, RubiconUnreachable)


@pytest.mark.parametrize("name", AIO)
async def test_the_same_with_asyncio(world: World, aio: AsyncClient, name: str) -> None:
    await asyncio.to_thread(begin, world, kernel_now())
    agent = await aio.agents.get(AGENT)
    if name == "wait":
        with pytest.raises(TimeoutError, match=r"has not ended within 0\.3 s"):
            await agent.wait(timeout=0.3)
    waiting = asyncio.ensure_future(AIO[name](agent))
    await agent.kill(reason="a hand")
    with pytest.raises(AgentKilledError) as caught:
        async with asyncio.timeout(20):
            await waiting
    assert (caught.value.reason, caught.value.alert_id, caught.value.agent) == ("a hand", "", "rollout")
    with pytest.raises(AgentKilledError):
        await aio.agents.connect("rollout")
