"""A 64-way fork bomb is gone after one kill, however it forks, with and without a cgroup of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from rubicon.v1 import response_pb2
from sensor.act.cgroup import Cgroup
from sensor.act.enrol import Facts
from sensor.act.kill import Order
from sensor.act.registry import Living
from sensor.kernel.enums import AgentFlag
from tests.sensor.act.keeper import Kept, compiled, kept
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root
MODES = ["leaf", "relay", "session", "vfork", "thread", "namespace", "parent", "mixed"]


@pytest.fixture
def foreign() -> Iterator[list[Cgroup]]:
    """Two cgroups that belong to nobody."""
    made = [Cgroup.at(f"/rubicon-t-foreign-{os.getpid()}-{secrets.token_hex(4)}") for _ in range(2)]
    for each in made:
        each.make()
    yield made
    for each in made:
        until(each.remove)


def killed(stage: Stage, agent: Living, bomb: Kept) -> response_pb2.Response:
    """One kill, and nobody is left: as the kernel's list, the agent's cgroup and a controller that nobody here uses say."""
    response = stage.killer.kill_agent(agent, Order())
    assert response.state == response_pb2.RESPONSE_STATE_VERIFIED, str(response)
    assert bomb.running() == set()
    assert stage.members(agent) == []
    until(lambda: bomb.living() == set(), seconds=5)
    assert bomb.status() == 137
    print(f"killed {response.killed} in {response.elapsed_ns / 1e6:.0f} ms: {', '.join(response.steps)}")
    return response


@pytest.mark.parametrize("mode", MODES)
def test_in_a_cgroup_of_its_own(stage: Stage, mode: str) -> None:
    with stage.bomb(compiled("bomb"), "64", "30", mode, most=1200) as (agent, bomb):
        until(lambda: len(bomb.living()) > 40)
        assert "cgroup.kill" in killed(stage, agent, bomb).steps


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", ["never"], indirect=True)
def test_enrolled_by_pid_where_it_is(stage: Stage, mode: str) -> None:
    with kept(compiled("bomb"), "64", "30", mode) as bomb:
        agent = stage.enroller.enrol_process(bomb.pid, Facts())
        assert not agent.cgroup_path
        bomb.release()
        bomb.line()
        until(lambda: len(bomb.living()) > 40)
        assert "cgroup.kill" not in killed(stage, agent, bomb).steps


@pytest.mark.parametrize("stage", ["never"], indirect=True)
def test_enrolled_by_pid_while_it_forks(stage: Stage) -> None:
    # forkers that live on: a child whose parent ends between the list and the tag is the blind spot that enrol.py names
    with kept(compiled("bomb"), "64", "30", "leaf") as bomb:
        bomb.release()
        bomb.line()
        until(lambda: len(bomb.living()) > 40)
        agent = stage.enroller.enrol_process(bomb.pid, Facts())
        killed(stage, agent, bomb)


@pytest.mark.parametrize("mode", ["move", "into", "mixed"])
def test_all_over_the_hierarchy(stage: Stage, foreign: list[Cgroup], mode: str) -> None:
    places = [str(each.folder) for each in (Cgroup.at("/"), *foreign)]
    with stage.bomb(compiled("bomb"), "64", "30", mode, *places, most=1200) as (agent, bomb):
        until(lambda: len(bomb.living()) > 40 and all(each.processes() for each in foreign))
        assert stage.kernel.agents.get(agent.number).flags & AgentFlag.LEAVERS  # type: ignore[union-attr]
        killed(stage, agent, bomb)


def test_a_bystander_that_forks_as_well_lives(stage: Stage) -> None:
    with kept(compiled("bomb"), "2", "30", most=100) as other:
        other.release()
        other.line()
        with stage.bomb(compiled("bomb"), "64", "30", "mixed", most=1200) as (agent, bomb):
            until(lambda: len(bomb.living()) > 40)
            killed(stage, agent, bomb)
        assert len(other.living()) >= 2
