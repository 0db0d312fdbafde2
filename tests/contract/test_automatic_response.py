"""Rules of a settings file at work in a real plane: who is stopped, who is only named, who waits, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from controlplane import detectors
from controlplane.policy import Rule, file
from rubicon.v1 import (
    agent_pb2,
    agent_service_pb2,
    alert_pb2,
    alert_service_pb2,
    coverage_service_pb2,
    event_pb2,
    policy_service_pb2,
    response_pb2,
    response_service_pb2,
    sensor_service_pb2,
)
from tests.controlplane.builders import Kernel, key, tunnel
from tests.controlplane.stage import Link, Stage, reason

FORWARD = "ssh-remote-forward"
VERIFIED, FAILED = response_pb2.RESPONSE_STATE_VERIFIED, response_pb2.RESPONSE_STATE_FAILED
Result = sensor_service_pb2.CommandResult


def rules(text: str) -> list[Rule]:
    return file.parse(text, "rubicon.yaml", [module.DETECTOR.id for module in detectors.load()])


class Sensor:
    """Plays the sensor: agents tunnel, kills are obeyed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.killed: list[str] = []
        self.contained: list[tuple[int, str]] = []
        self.answer: Callable[[str], Result] = lambda _: Result(response=response_pb2.Response(state=VERIFIED))
        self._kernels: dict[str, Kernel] = {}

    async def connect(self) -> None:
        self.link = await self.stage.connect(capabilities=["enrol", "kill", "finish", "probe", "contain"])
        self.work = asyncio.create_task(self._obey(self.link))

    async def _obey(self, link: Link) -> None:
        async def kill(command: sensor_service_pb2.Command) -> Result:
            if command.HasField("contain"):
                self.contained.append((command.contain.action, command.contain.agent_id))
                return self.answer(command.contain.agent_id)
            self.killed.append(command.kill.agent_id)
            return self.answer(command.kill.agent_id)

        while True:
            command = await link.commands.get()
            link.commands.put_nowait(command)
            await link.answer(kill)

    async def tunnels(self, number: int, **labels: str) -> str:
        """An agent of these labels opens a reverse tunnel; its id."""
        agent, root = self.agent(number), key(100 + 10 * number)
        kernel = self._kernels[agent] = Kernel(agent, epoch=number)
        enrol = kernel.enrol(root, f"rollout-{number}", labels=labels)
        await self.link.deliver([enrol, *tunnel(kernel, root, cookie=number + 1)])
        return agent

    async def again(self, number: int) -> None:
        """It opens another one."""
        kernel, child = self._kernels[self.agent(number)], key(101 + 10 * number)
        events: list[event_pb2.Event] = [kernel.fork(key(100 + 10 * number), child)]
        await self.link.deliver([*events, *tunnel(kernel, child, cookie=500 + number)])

    async def ends(self, number: int) -> None:
        await self.link.deliver([self._kernels[self.agent(number)].finish("exited")])

    @staticmethod
    def agent(number: int) -> str:
        return f"{0xA000 + number:012x}"


@asynccontextmanager
async def playing(stage: Stage) -> AsyncIterator[Sensor]:
    await stage.start()
    sensor = Sensor(stage)
    try:
        await sensor.connect()
        yield sensor
    finally:
        sensor.work.cancel()
        await asyncio.gather(sensor.work, return_exceptions=True)
        await stage.stop()


async def alert(stage: Stage, agent: str) -> alert_pb2.Alert:
    """The agent's alert of the rule, the newest."""
    found = (await stage.api().ListAlerts(alert_service_pb2.ListAlertsRequest(agent=agent))).alerts
    return next(each for each in found if each.detector == FORWARD)


async def says(stage: Stage, agent: str, text: str) -> alert_pb2.Alert:
    async with asyncio.timeout(10):
        while not (found := await alert(stage, agent)).response.startswith(text):
            await asyncio.sleep(0.01)
        return found


async def responses(stage: Stage, agent: str = "") -> list[response_pb2.Response]:
    request = response_service_pb2.ListResponsesRequest(agent=agent)
    return list((await stage.api().ListResponses(request)).responses)


async def dead(stage: Stage, agent: str) -> agent_pb2.Agent:
    async with asyncio.timeout(10):
        while True:
            found = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=agent))).agent
            if found.state == agent_pb2.AGENT_STATE_KILLED:
                return found
            await asyncio.sleep(0.01)


async def test_by_label_one_is_stopped_and_the_others_are_named(tmp_path: Path) -> None:
    text = f"""
    respond:
      - detector: {FORWARD}
        labels: {{job: rome-7}}
        action: kill
      - detector: {FORWARD}
        action: kill
        mode: monitor
    """
    async with playing(Stage(tmp_path, rules=rules(text))) as sensor:
        named = await sensor.tunnels(1, job="rome-8")
        stopped = await sensor.tunnels(2, job="rome-7", tier="gpu")
        agent = await dead(sensor.stage, stopped)
        assert sensor.killed == [stopped]
        own = await alert(sensor.stage, stopped)
        (response,) = await responses(sensor.stage)
        assert (own.response, own.response_id) == ("kill", response.id)
        assert response.requested_by == f"policy ({FORWARD}: kill [job=rome-7])"
        assert (response.alert_id, agent.alert_id) == (own.id, own.id)
        assert agent.reason == response.reason == f"{FORWARD}: {own.title} (high)"
        assert (await alert(sensor.stage, named)).response == "none (would kill)"
        asked, done = (one for one in await sensor.stage.audited() if one["action"] == "kill")
        assert (asked["phase"], done["phase"], done["request"]) == ("requested", "result", asked["sequence"])
        assert (done["identity"], done["action"], done["outcome"]) == (response.requested_by, "kill", "verified")
        assert (done["alert"], done["response"]) == (own.id, response.id)


async def test_less_than_a_kill_and_then_a_kill(tmp_path: Path) -> None:
    text = f"""
    respond:
      - {{detector: ssh-outbound, labels: {{job: a}}, min_severity: info, action: isolate}}
      - {{detector: {FORWARD}, labels: {{job: a}}, action: kill}}
      - {{detector: {FORWARD}, action: freeze}}
    """
    async with playing(Stage(tmp_path, rules=rules(text))) as sensor:
        stage = sensor.stage
        first, frozen = await sensor.tunnels(1, job="a"), await sensor.tunnels(2)
        agent = await dead(stage, first)
        assert (agent.alert_id, sensor.killed) == ((await alert(stage, first)).id, [first])
        kill, isolate = await responses(stage, first)
        assert (kill.action, isolate.action) == (response_pb2.ACTION_KILL, response_pb2.ACTION_ISOLATE)
        assert (kill.state, isolate.state) == (VERIFIED, VERIFIED)
        async with asyncio.timeout(10):
            while [each.state for each in await responses(stage, frozen)] != [VERIFIED]:
                await asyncio.sleep(0.01)
        assert (await alert(stage, frozen)).response == "freeze"
        assert [action for action, _ in sensor.contained] == [response_pb2.ACTION_ISOLATE, response_pb2.ACTION_FREEZE]


async def test_a_bad_rule_does_not_empty_a_cluster(tmp_path: Path) -> None:
    text = f"respond: [{{detector: {FORWARD}, action: kill, max_agents_per_minute: 2}}]"
    async with playing(Stage(tmp_path, rules=rules(text), minute=1.5)) as sensor:
        stage = sensor.stage
        agents = [await sensor.tunnels(number) for number in range(5)]
        for agent in agents[2:]:
            found = await says(stage, agent, "kill held back: rule 'ssh-remote-forward: kill' stops at most 2 agents")
            assert found.response_id
        assert len(await responses(stage)) == len(sensor.killed) == 2
        (coverage,) = (await stage.api().ListCoverage(coverage_service_pb2.ListCoverageRequest())).coverage
        (fact,) = [fact for fact in coverage.facts if fact.mechanism == "policy"]
        assert "3 wait their turn" in fact.missing
        await sensor.ends(4)
        await says(stage, agents[4], "none (the agent ended while it waited its turn)")
        for agent in agents[2:4]:
            await dead(stage, agent)
            assert (await alert(stage, agent)).response == "kill"
        assert sorted(sensor.killed) == agents[:4]


async def test_a_restart_forgets_no_turn_and_drops_nobody(tmp_path: Path) -> None:
    text = f"respond: [{{detector: {FORWARD}, action: kill, max_agents_per_minute: 2}}]"
    stage = Stage(tmp_path, rules=rules(text))
    async with playing(stage) as sensor:
        agents = [await sensor.tunnels(number) for number in range(4)]
        before = [(await says(stage, agent, "kill held back")).response_id for agent in agents[2:]]
        for agent in agents[:2]:
            await dead(stage, agent)
    async with playing(stage) as sensor:
        after = [(await says(stage, agent, "kill held back")).response_id for agent in agents[2:]]
        assert after == before
        assert sensor.killed == []
    stage.minute = 1.0
    async with playing(stage) as sensor:
        for agent in agents[2:]:
            await dead(stage, agent)
        assert sorted(sensor.killed) == agents[2:]
        assert {response.id for response in await responses(stage)} >= set(before)


async def test_rules_are_read_again(tmp_path: Path) -> None:
    text = f"respond: [{{detector: {FORWARD}, action: kill, max_agents_per_minute: 1}}]"
    stage = Stage(tmp_path, rules=rules(text))
    async with playing(stage) as sensor:
        agents = [await sensor.tunnels(number) for number in range(3)]
        for agent in agents[1:]:
            await says(stage, agent, "kill held back")
        request = policy_service_pb2.ListRulesRequest()
        (rule,) = (await stage.api(uid=1000).ListRules(request)).rules
        assert (rule.name, rule.enforce, rule.waiting) == (f"{FORWARD}: kill", True, 2)

        def broken() -> list[Rule]:
            return rules("respond: kill")

        read, stage.plane._read_rules = stage.plane._read_rules, broken
        reload = policy_service_pb2.ReloadRulesRequest()
        for uid, why in ((1000, "PERMISSION_DENIED"), (0, "INVALID_ARGUMENT")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stage.api(uid=uid).ReloadRules(reload)
            assert reason(caught.value) == why
        assert "rubicon.yaml:1" in str(caught.value.details())
        assert (await stage.api().ListRules(request)).rules[0].waiting == 2

        stage.plane._read_rules = read
        stage.rules = rules(f"respond: [{{detector: {FORWARD}, action: kill, mode: monitor}}]")
        (rule,) = (await stage.api().ReloadRules(reload)).rules
        assert (rule.enforce, rule.waiting) == (False, 0)
        for agent in agents[1:]:
            assert not (await says(stage, agent, "none (held back, and no rule wants it any more)")).response_id
        await says(stage, await sensor.tunnels(4), "none (would kill)")

        stage.rules = rules(f"respond: {{{FORWARD}: kill}}")
        await stage.api().ReloadRules(reload)
        await sensor.again(1)
        await dead(stage, agents[1])
        assert sensor.killed == agents[:2]


async def test_a_kill_that_failed_is_tried_again_at_the_next_alert(tmp_path: Path) -> None:
    async with playing(Stage(tmp_path, rules=rules(f"respond: {{{FORWARD}: kill}}"))) as sensor:
        sensor.answer = lambda _: Result(response=response_pb2.Response(state=FAILED, error="one is left"))
        agent = await sensor.tunnels(1)
        async with asyncio.timeout(10):
            while [response.state for response in await responses(sensor.stage)] != [FAILED]:
                await asyncio.sleep(0.01)
        sensor.answer = lambda _: Result(response=response_pb2.Response(state=VERIFIED))
        await sensor.again(1)
        assert (await dead(sensor.stage, agent)).alert_id == (await alert(sensor.stage, agent)).id
        assert sensor.killed == [agent, agent]


@pytest.mark.parametrize("told", [True, False])
async def test_who_was_stopped_knows_why_also_when_the_plane_died_before_it_heard(tmp_path: Path, told: bool) -> None:
    stage = Stage(tmp_path, rules=rules(f"respond: {{{FORWARD}: kill}}"))
    async with playing(stage) as sensor:
        sensor.work.cancel()
        agent = await sensor.tunnels(1)
        await sensor.link.commands.get()
        if told:
            kernel = sensor._kernels[agent]
            await sensor.link.deliver([kernel.finish("killed")])
            early = await dead(stage, agent)
            assert early.alert_id == (await alert(stage, agent)).id
            assert early.reason
    async with playing(stage):
        late = await dead(stage, agent)
        assert late.alert_id == (await alert(stage, agent)).id
        assert late.reason
