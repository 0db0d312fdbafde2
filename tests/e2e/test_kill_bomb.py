"""A 64-way fork bomb under a real sensor is gone after one kill, 20 times of 20."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sensor.act.cgroup import mount
from tests.e2e.sensor import Sensor, sensor, until
from tests.sensor.act.keeper import Kept, compiled, kept

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
ROUNDS = 20
MODES = ["leaf", "mixed"]


@pytest.fixture
def running(root_lock: object) -> Iterator[Sensor]:
    with sensor() as made:
        made.start()
        yield made


@contextlib.contextmanager
def bombing(running: Sensor, *command: str, name: str = "") -> Iterator[tuple[dict[str, Any], Kept]]:
    """A bomb as an agent, once it has spread."""
    with kept(*command) as bomb:
        agent = running.call("launch", pid=bomb.pid, name=name, command=list(command))
        assert agent["ok"], agent
        bomb.release()
        bomb.line()
        until(lambda: len(bomb.living()) > 40)
        yield agent, bomb


def kill(running: Sensor, agent: dict[str, Any], bomb: Kept) -> None:
    response = running.call("kill", target=agent["agent_id"], reason="bomb")["response"]
    assert response["state"] == "RESPONSE_STATE_VERIFIED", response
    assert bomb.living() == set()
    assert bomb.status() == 137


def test_a_64_way_fork_bomb_is_gone_after_one_kill(running: Sensor) -> None:
    for turn in range(ROUNDS):
        with bombing(running, compiled("bomb"), "64", "30", MODES[turn % 2], name=f"bomb-{turn}") as (agent, bomb):
            kill(running, agent, bomb)
    until(lambda: running.registered() == [])


def test_a_bomb_that_left_its_cgroup_is_gone_too(running: Sensor) -> None:
    script = f"echo $$ > {mount()}/cgroup.procs; exec {compiled('bomb')} 64 30"
    with bombing(running, "sh", "-c", script) as (agent, bomb):
        kill(running, agent, bomb)
