"""Kills from request to verified, with the real store, pipeline and registry of sensors; the test plays the sensor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from controlplane.errors import (
    AgentEnded,
    AgentNotFound,
    CommandTimeout,
    InvalidArgument,
    ProcessNotFound,
    SensorUnreachable,
    TargetProtected,
)
from controlplane.ingest.sensors import Sensor, Sensors
from controlplane.model import Agent, Changes, ProcessKey, ResponseWanted
from controlplane.pipeline import Pipeline
from controlplane.respond import Asked, Responder
from controlplane.store import convert, schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import agent_pb2, coverage_pb2, event_pb2, process_pb2, response_pb2, sensor_service_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, wire_key

VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
FAILED = response_pb2.RESPONSE_STATE_FAILED
APPLIED = response_pb2.RESPONSE_STATE_APPLIED
BY = Asked("uid 0 (rubicon kill)", "it tunnels", caller=ProcessKey(7, 7000))
Result = sensor_service_pb2.CommandResult
Answer = Callable[[sensor_service_pb2.KillCommand], Result | None]


def done(state: int = VERIFIED, **facts: object) -> Answer:
    return lambda kill: Result(
        response=response_pb2.Response(state=state, killed=3, elapsed_ns=9, steps=["condemned"], **facts)  # type: ignore[arg-type]
    )


class Plane:
    """What a server wires together, as far as a kill needs it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.pipeline = Pipeline([])
        self.sensors = Sensors(self.pipeline.cover)
        self.responder = Responder(self.sensors, self.pipeline, self.store, timeout=0.5)
        self.kernel = Kernel()
        self.kills: list[sensor_service_pb2.KillCommand] = []
        self.states_at_command: list[int] = []
        self.answer: Answer = done()
        self.gate = asyncio.Event()
        self.gate.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        offset = HOST.clock_offset_ns
        await self.store.remember(HOST.boot, offset, coverage_pb2.Coverage())
        self.sensor = Sensor(HOST.boot, (1, 1), self._send, lambda: None, coverage_pb2.Coverage())
        await self.sensors.add(self.sensor)

    def _send(self, message: sensor_service_pb2.ConnectResponse) -> None:
        task = asyncio.create_task(self._obey(message.command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, command: sensor_service_pb2.Command) -> None:
        self.kills.append(command.kill)
        stored = await asyncio.to_thread(self.store.entities.response, command.kill.response_id)
        self.states_at_command.append(stored.state if stored else 0)
        await self.gate.wait()
        result = self.answer(command.kill)
        if result is not None:
            result.id = command.id
            self.sensors.answer(self.sensor, result)

    async def take(self, *events: event_pb2.Event) -> Changes:
        changes = self.pipeline.apply(HOST, events)
        write = Write(self.store.number(HOST.boot), HOST.clock_offset_ns, 0, changes.events)
        for agent in changes.agents:
            write.rows.put(schema.agents, convert.agent_row(agent, write.boot))
        for process in changes.processes:
            write.rows.put(schema.processes, convert.process_row(process, write.boot))
        await self.store.writer.submit(write)
        return changes

    async def tree(self) -> None:
        """Root 10 made 11, which made 12 and 13 and ended."""
        k = self.kernel
        await self.take(
            k.enrol(key(10)), k.fork(key(10), key(11)), k.fork(key(11), key(12)), k.fork(key(11), key(13)),
            k.exit(key(11)),
        )  # fmt: skip

    async def stored_agent(self, text: str = AGENT) -> agent_pb2.Agent:
        agent = await asyncio.to_thread(self.store.entities.agent, text)
        assert agent is not None
        return agent


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    plane = Plane(tmp_path)
    await plane.start()
    yield plane
    await plane.store.close()


def agent_target(text: str = AGENT) -> response_pb2.Target:
    return response_pb2.Target(agent=text)


def process_target(process: ProcessKey, start: int | None = None) -> response_pb2.Target:
    start = process.start_time_ns if start is None else start
    return response_pb2.Target(process=process_pb2.ProcessId(host=HOST.host, pid=process.pid, start_time_ns=start))


async def test_an_agent_is_killed_and_says_why(plane: Plane) -> None:
    await plane.tree()
    response = await plane.responder.kill(agent_target("rollout"), BY)
    assert (response.state, response.killed, response.elapsed_ns) == (VERIFIED, 3, 9)
    assert plane.states_at_command == [response_pb2.RESPONSE_STATE_REQUESTED]
    (kill,) = plane.kills
    assert kill.agent_id == AGENT
    assert not kill.HasField("process")
    assert list(kill.descendants) == [wire_key(key(10)), wire_key(key(12)), wire_key(key(13))]
    assert kill.caller == wire_key(ProcessKey(7, 7000))
    assert (kill.reason, kill.response_id) == ("it tunnels", response.id)
    agent = await plane.stored_agent()
    assert (agent.state, agent.reason) == (agent_pb2.AGENT_STATE_KILLED, "it tunnels")
    stored = await asyncio.to_thread(plane.store.entities.response, response.id)
    assert stored == response
    assert stored.requested_by == "uid 0 (rubicon kill)"


async def test_a_process_is_killed_with_descendants_that_were_reparented(plane: Plane) -> None:
    await plane.tree()
    response = await plane.responder.kill(process_target(key(11)), BY)
    (kill,) = plane.kills
    assert kill.process == wire_key(key(11))
    assert list(kill.descendants) == [wire_key(key(12)), wire_key(key(13))]
    assert response.state == VERIFIED
    assert (await plane.stored_agent()).state == agent_pb2.AGENT_STATE_RUNNING


@pytest.mark.parametrize("told", ["before", "after"])
async def test_who_ends_with_its_root_was_killed(plane: Plane, told: str) -> None:
    """The end comes up beside the sensor's answer: before it, or after."""
    await plane.tree()
    ends = [*(plane.kernel.exit(key(pid), signal=9) for pid in (10, 12, 13)), plane.kernel.finish("exited")]
    plane.gate.clear()
    kill = asyncio.create_task(plane.responder.kill(process_target(key(10)), BY))
    await asyncio.sleep(0.05)
    if told == "before":
        await plane.take(*ends)
    plane.gate.set()
    assert (await kill).state == VERIFIED
    if told == "after":
        assert (await plane.stored_agent()).state == agent_pb2.AGENT_STATE_RUNNING
        await plane.take(*ends)
    agent = await plane.stored_agent()
    assert (agent.state, agent.reason) == (agent_pb2.AGENT_STATE_KILLED, "it tunnels")


async def test_a_pid_alone_means_who_lives_under_it(plane: Plane) -> None:
    await plane.tree()
    await plane.responder.kill(process_target(key(12), start=0), BY)
    assert plane.kills[0].process == wire_key(key(12))
    with pytest.raises(ProcessNotFound, match="alive"):
        await plane.responder.kill(process_target(key(11), start=0), BY)


async def test_a_second_kill_returns_the_first(plane: Plane) -> None:
    await plane.tree()
    first = await plane.responder.kill(agent_target(), BY)
    await plane.take(plane.kernel.finish("killed"))
    again = await plane.responder.kill(agent_target(), BY)
    inside = await plane.responder.kill(process_target(key(12)), BY)
    assert again == first == inside
    assert len(plane.kills) == 1


async def test_two_kills_at_once_are_one(plane: Plane) -> None:
    await plane.tree()
    plane.gate.clear()
    calls = [asyncio.create_task(plane.responder.kill(agent_target(), BY)) for _ in range(5)]
    while not plane.kills:
        await asyncio.sleep(0.005)
    calls[0].cancel()
    plane.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {r.id for r in results[1:] if isinstance(r, response_pb2.Response)} == {plane.kills[0].response_id}
    assert len(plane.kills) == 1


async def test_an_agent_that_ended_by_itself_needs_no_sensor(plane: Plane) -> None:
    await plane.tree()
    await plane.take(plane.kernel.finish("exited"))
    plane.sensors.remove(plane.sensor)
    response = await plane.responder.kill(agent_target(), BY)
    assert (response.state, list(response.steps)) == (VERIFIED, ["had already ended"])
    assert (await plane.stored_agent()).state == agent_pb2.AGENT_STATE_FINISHED


async def test_the_sensor_knew_first_that_it_ended(plane: Plane) -> None:
    await plane.tree()
    plane.answer = lambda kill: Result(error_reason="AGENT_ENDED", error="agent rollout has ended")
    response = await plane.responder.kill(agent_target(), BY)
    assert response.state == VERIFIED
    assert "already ended" in response.steps[0]


async def test_a_pending_agent_is_over_at_once(plane: Plane) -> None:
    entity = Agent("00000000beef", "later", state=agent_pb2.AGENT_STATE_PENDING, started_wall_ns=1)
    write = Write()
    write.rows.put(schema.agents, convert.agent_row(entity, 0))
    await plane.store.writer.submit(write)
    response = await plane.responder.kill(agent_target("later"), BY)
    assert (response.state, list(response.steps)) == (VERIFIED, ["nothing was enrolled yet"])
    agent = await plane.stored_agent("later")
    assert (agent.state, agent.reason) == (agent_pb2.AGENT_STATE_KILLED, "it tunnels")


async def test_finished_while_processes_went_on(plane: Plane) -> None:
    await plane.tree()
    await plane.take(plane.kernel.finish("finished"))
    with pytest.raises(AgentEnded, match="3 of its processes went on unwatched"):
        await plane.responder.kill(agent_target(), BY)


async def test_nobody(plane: Plane) -> None:
    await plane.tree()
    with pytest.raises(AgentNotFound):
        await plane.responder.kill(agent_target("nobody"), BY)
    with pytest.raises(InvalidArgument):
        await plane.responder.kill(response_pb2.Target(), BY)
    with pytest.raises(InvalidArgument):
        await plane.responder.kill(process_target(ProcessKey(0, 0)), BY)
    with pytest.raises(ProcessNotFound):
        await plane.responder.kill(process_target(ProcessKey(12, 99)), BY)
    assert not plane.kills


async def test_no_sensor_says_what_works_without_it(plane: Plane) -> None:
    await plane.tree()
    plane.sensors.remove(plane.sensor)
    with pytest.raises(SensorUnreachable) as caught:
        await plane.responder.kill(agent_target(), BY)
    assert "rubicon kill --local" in caught.value.hint
    (stored,) = await asyncio.to_thread(lambda: plane.store.entities.responses(agent_id=AGENT))
    assert stored.state == FAILED
    assert "rubicon kill --local" in stored.error
    assert stored.HasField("finished_at")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda kill: None, CommandTimeout),
        (lambda kill: Result(error_reason="TARGET_PROTECTED", error="the target holds your shell"), TargetProtected),
    ],
)
async def test_refused_or_late(plane: Plane, answer: Answer, error: type[Exception]) -> None:
    await plane.tree()
    plane.answer = answer
    with pytest.raises(error):
        await plane.responder.kill(agent_target(), BY)
    (stored,) = await asyncio.to_thread(lambda: plane.store.entities.responses(agent_id=AGENT))
    assert stored.state == FAILED
    assert (await plane.stored_agent()).state == agent_pb2.AGENT_STATE_RUNNING


@pytest.mark.parametrize("state", [FAILED, APPLIED])
async def test_what_is_left_is_named_and_followed(plane: Plane, state: int) -> None:
    await plane.tree()
    left = response_pb2.Survivor(
        id=process_pb2.ProcessId(host="rome", pid=12, start_time_ns=12000), comm="dd", why="condemned, not yet dead"
    )
    plane.answer = done(state, survivors=[left])
    response = await plane.responder.kill(agent_target(), BY)
    assert response.state == state
    assert [(s.id.pid, s.comm, s.why) for s in response.survivors] == [(12, "dd", "condemned, not yet dead")]
    assert (await plane.stored_agent()).state == agent_pb2.AGENT_STATE_RUNNING
    changes = await plane.take(plane.kernel.finish("killed"))
    await plane.responder.followed.ended(changes.agents)
    stored = await asyncio.to_thread(plane.store.entities.response, response.id)
    assert stored is not None
    assert (stored.state, len(stored.survivors), stored.error) == (VERIFIED, 0, "")
    assert (await plane.stored_agent()).reason == "it tunnels"


async def left_somebody(plane: Plane) -> response_pb2.Response:
    left = response_pb2.Survivor(id=process_pb2.ProcessId(pid=12, start_time_ns=12000), why="D state")
    plane.answer = done(FAILED, survivors=[left])
    return await plane.responder.kill(agent_target(), BY)


async def test_who_is_left_when_the_watch_ends_is_not_said_to_be_dead(plane: Plane) -> None:
    await plane.tree()
    response = await left_somebody(plane)
    changes = await plane.take(plane.kernel.finish("finished"))
    await plane.responder.followed.ended(changes.agents)
    stored = await asyncio.to_thread(plane.store.entities.response, response.id)
    assert stored is not None
    assert (stored.state, [each.id.pid for each in stored.survivors]) == (FAILED, [12])
    await plane.responder.followed.take_up(await asyncio.to_thread(plane.store.entities.followed_responses))
    assert await asyncio.to_thread(plane.store.entities.response, response.id) == stored


async def test_a_plane_that_died_before_it_verified_does_so_when_it_is_back(plane: Plane) -> None:
    await plane.tree()
    response = await left_somebody(plane)
    await plane.take(plane.kernel.finish("killed"))
    await plane.responder.followed.take_up(await asyncio.to_thread(plane.store.entities.followed_responses))
    stored = await asyncio.to_thread(plane.store.entities.response, response.id)
    assert stored is not None
    assert (stored.state, len(stored.survivors)) == (VERIFIED, 0)
    assert not await asyncio.to_thread(plane.store.entities.followed_responses)


async def test_policy_is_obeyed_and_resumed_after_a_restart(plane: Plane) -> None:
    await plane.tree()
    plane.answer = lambda kill: None
    wanted = ResponseWanted("00000000000000aa", response_pb2.ACTION_KILL, AGENT, "00000000000000bb", "tunnel (high)")
    first = asyncio.create_task(plane.responder.obey(wanted))
    while not plane.kills:
        await asyncio.sleep(0.005)
    stored = await asyncio.to_thread(plane.store.entities.response, wanted.id)
    assert stored is not None
    assert (stored.state, stored.requested_by, stored.alert_id) == (1, "policy", wanted.alert_id)
    with pytest.raises(CommandTimeout):
        await first

    plane.answer = done()
    await plane.responder.resume([stored])
    again = await asyncio.to_thread(plane.store.entities.response, wanted.id)
    assert again is not None
    assert (again.state, again.alert_id) == (VERIFIED, wanted.alert_id)
    assert plane.kills[1].response_id == wanted.id
    assert (await plane.stored_agent()).reason == "tunnel (high)"


@pytest.mark.parametrize("action", [response_pb2.ACTION_KILL, response_pb2.ACTION_FREEZE])
async def test_what_cannot_be_taken_up_again_has_failed(plane: Plane, action: response_pb2.Action.ValueType) -> None:
    nobody = "0000000000ff"
    asked = response_pb2.Response(
        id="00000000000000cc", action=action, target=response_pb2.Target(agent=nobody), agent_id=nobody
    )
    asked.state = response_pb2.RESPONSE_STATE_REQUESTED
    await plane.responder.ledger.keep(asked)
    await plane.responder.resume([asked])
    stored = await asyncio.to_thread(plane.store.entities.response, asked.id)
    assert stored is not None
    assert (stored.state, plane.kills) == (FAILED, [])
    assert nobody in stored.error
    assert await asyncio.to_thread(plane.store.entities.open_responses) == []
