"""What a rule wants beyond its limit waits, is said, and comes in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from controlplane.model import ResponseWanted
from controlplane.policy import Gate, Rule
from rubicon.v1 import coverage_pb2, response_pb2

MINUTE = 0.4


class Stand:
    """A gate, what it let through, and what it said."""

    def __init__(self, window: float = MINUTE) -> None:
        self.done: list[tuple[str, float]] = []
        self.said: list[tuple[str, str]] = []
        self.dead: set[str] = set()
        self.fails: set[str] = set()
        self.dropped: list[str] = []
        self.gate = Gate(
            self._carry,
            lambda w, why: self.said.append((w.agent_id, why)),
            lambda w: self.dropped.append(w.agent_id),
            self._alive,
            window,
        )

    async def _carry(self, wanted: ResponseWanted) -> None:
        self.done.append((wanted.agent_id, asyncio.get_running_loop().time()))
        if wanted.agent_id in self.fails:
            raise RuntimeError("it does not work")

    def _alive(self, agent_id: str) -> bool:
        return agent_id not in self.dead

    @property
    def agents(self) -> list[str]:
        return [agent for agent, _ in self.done]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.done) < count:
                await asyncio.sleep(0.005)


def wanted(agent: str, rule: str = "r", most: int = 2) -> ResponseWanted:
    return ResponseWanted(f"id-{rule}-{agent}", response_pb2.ACTION_KILL, agent, f"alert-{agent}", "why", rule, most)


@asynccontextmanager
async def standing(window: float = MINUTE) -> AsyncIterator[Stand]:
    stand = Stand(window)
    yield stand
    await stand.gate.stop()


async def test_the_first_pass_the_others_come_in_their_turn() -> None:
    async with standing() as stand:
        with capture_logs() as lines:
            for agent in "abcde":
                await stand.gate(wanted(agent))
        assert stand.agents == ["a", "b"]
        assert [agent for agent, _ in stand.said] == ["c", "d", "e"]
        assert stand.said[0][1] == "kill held back: rule 'r' stops at most 2 agents a minute"
        assert [line["waiting"] for line in lines if line["log_level"] == "error"] == [1, 2, 3]
        (fact,) = stand.gate.facts()
        assert (fact.fact, fact.state) == ("rule r", coverage_pb2.COVERAGE_STATE_PARTIAL)
        assert "3 wait their turn, 3 were held back" in fact.missing
        await stand.until(5)
        assert stand.agents == list("abcde")
        assert stand.said[3:] == [("c", ""), ("d", ""), ("e", "")]
        times = [at for _, at in stand.done]
        assert all(later - sooner >= MINUTE * 0.95 for sooner, later in zip(times, times[2:], strict=False))
        assert "0 wait their turn, 3 were held back" in stand.gate.facts()[0].missing


async def test_rules_do_not_wait_for_one_another_and_on_alert_for_nobody() -> None:
    async with standing() as stand:
        for agent in "abc":
            await stand.gate(wanted(agent, "one", 1))
            await stand.gate(wanted(agent, "two", 1))
            await stand.gate(wanted(agent, "", 0))
        assert sorted(stand.agents) == ["a", "a", "a", "b", "c"]


async def test_the_same_agent_again_counts_once_and_does_not_wait() -> None:
    async with standing(60) as stand:
        for agent in ("a", "b", "c", "a", "b"):
            await stand.gate(wanted(agent))
        assert stand.agents == ["a", "b", "a", "b"]


async def test_who_has_ended_takes_no_turn() -> None:
    async with standing() as stand:
        for agent in "abcd":
            await stand.gate(wanted(agent, most=1))
        stand.dead = {"b", "c"}
        await stand.until(2)
        assert stand.agents == ["a", "d"]
        assert stand.done[1][1] - stand.done[0][1] < 2 * MINUTE


async def test_one_that_fails_late_holds_up_nobody() -> None:
    async with standing() as stand:
        stand.fails = {"b"}
        for agent in "abc":
            await stand.gate(wanted(agent, most=1))
        with capture_logs() as lines:
            await stand.until(3)
        assert [line["event"] for line in lines if line["log_level"] == "error"] == ["response failed"]
        stand.fails = {"z"}
        with pytest.raises(RuntimeError):
            await stand.gate(wanted("z", "other"))


async def test_what_was_stopped_before_a_restart_counts() -> None:
    async with standing(60) as stand:
        stand.gate.remember([("r", "a", 59.0), ("r", "b", -5.0), ("other", "c", 1.0)])
        await stand.gate(wanted("d"))
        assert stand.agents == []
    async with standing(0.3) as stand:
        stand.gate.remember([("r", "a", 0.29), ("r", "b", 0.29)])
        await stand.gate(wanted("d"))
        await stand.until(1)


async def test_other_rules_let_go_what_they_do_not_want_and_bring_their_own_limit() -> None:
    async with standing(60) as stand:
        for agent in "abc":
            await stand.gate(wanted(agent, "any: kill", 1))
            await stand.gate(wanted(agent, "any: freeze", 1))
            await stand.gate(wanted(agent, "any: isolate", 1))
        assert stand.agents == ["a"] * 3
        assert stand.gate.counts("any: kill") == (2, 2)
        kill = Rule(response_pb2.ACTION_KILL, max_agents_per_minute=3)
        freeze = Rule(response_pb2.ACTION_FREEZE, enforce=False)
        stand.gate.take([kill, freeze])
        assert stand.dropped == ["b", "c", "b", "c"]
        await stand.until(5)
        assert stand.agents[3:] == ["b", "c"]
        assert stand.gate.counts("any: kill") == (0, 2)
        assert stand.gate.counts("nothing") == (0, 0)
