"""What of an agent was taken out of the kernel's maps is put back at the next look, and told."""

from __future__ import annotations

import pytest

from sensor.act.containing import Containing
from sensor.guard.guard import Guard
from sensor.kernel.enums import AgentFlag
from tests.sensor.act.conftest import stage
from tests.sensor.act.stage import Stage

__all__ = ["stage"]
pytestmark = pytest.mark.root


@pytest.fixture
def guard(stage: Stage) -> Guard:
    return Guard(stage.instance, stage.enroller, stage.containment, stage.events.append)


def told(stage: Stage) -> list[tuple[str, str]]:
    return [(each.tamper.action, each.tamper.detail) for each in stage.events if each.HasField("tamper")]


def test_an_agent_that_was_removed(stage: Stage, guard: Guard) -> None:
    agent, child = stage.launch("sleep", "60", name="gone")
    guard.look()
    assert told(stage) == []
    stage.kernel.agents.delete(agent.number)
    stage.kernel.tags.delete(child.pid)
    guard.look()
    assert stage.kernel.agents.get(agent.number)
    assert stage.members(agent) == [child.pid]
    [(action, detail)] = told(stage)
    assert action == "agent-removed"
    assert "agent gone was removed from the kernel's maps; it is as it was" in detail


def test_an_isolation_that_was_taken_away(stage: Stage, guard: Guard) -> None:
    agent, _ = stage.launch("sleep", "60", name="shut")
    stage.containment.isolate(agent, Containing())
    guard.look()
    stage.kernel.agents.set_flags(agent.number, off=int(AgentFlag.ISOLATED))
    guard.look()
    assert told(stage) == [], "for a moment it is so while it is released"
    guard.look()
    assert stage.kernel.agents.get(agent.number).flags & AgentFlag.ISOLATED  # type: ignore[union-attr]
    [(action, detail)] = told(stage)
    assert action == "isolation-removed"
    assert "the isolation of agent shut was taken away; it is as it was" in detail


def test_one_that_was_released_was_not_taken_away(stage: Stage, guard: Guard) -> None:
    agent, _ = stage.launch("sleep", "60")
    stage.containment.isolate(agent, Containing())
    guard.look()
    stage.containment.release(agent, Containing())
    for _ in range(3):
        guard.look()
    assert told(stage) == []
    assert not stage.kernel.agents.get(agent.number).flags & AgentFlag.ISOLATED  # type: ignore[union-attr]
