"""An agent's end, and what a restarted sensor makes of what it finds."""

from __future__ import annotations

import os
import time

import pytest

from sensor.act.cgroup import Cgroup
from sensor.act.containing import Containing
from sensor.errors import AgentNotFound, InvalidArgument
from sensor.kernel.enums import AgentFlag
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root


def finished(stage: Stage) -> bool:
    stage.watch.sweep()
    return "finish" in stage.kinds()


def test_an_agent_ends_with_its_last_process(stage: Stage) -> None:
    agent, child = stage.launch("sh", "-c", "(setsid sleep 0.2 &)", name="short")
    child.wait()
    stage.watch.sweep()
    assert "finish" not in stage.kinds()
    until(lambda: finished(stage))
    last = stage.events[-1]
    assert (last.agent_id, last.finish.reason) == (agent.id, "exited")
    assert len(stage.registry) == 0
    until(lambda: stage.watch.sweep() or stage.watch.idle)
    assert list(stage.kernel.agents.items()) == []
    assert list(stage.kernel.cgroups.items()) == []
    assert not Cgroup.at(agent.cgroup_path).exists


def test_calm_is_who_only_has_agents_that_live(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60")
    assert stage.watch.calm
    stage.containment.freeze(agent, Containing())
    assert not stage.watch.calm
    stage.containment.release(agent, Containing())
    assert stage.watch.calm
    child.kill()
    child.wait()
    stage.watch.sweep()
    assert not stage.watch.calm, "its cgroup and maps are to be cleared"
    time.sleep(0.01)
    stage.watch.sweep()
    assert stage.watch.calm


def test_a_cgroup_that_holds_a_stranger_stays_until_it_is_empty(stage: Stage) -> None:
    stranger = stage.plain("sleep", "60")
    agent, mover = stage.mover()
    home = stage.enroller.cgroup(agent)
    assert home
    stage.move_by(mover, stranger.pid, home)
    assert stage.kernel.agents.get(agent.number).flags & AgentFlag.STRANGER
    mover.kill()
    mover.wait()
    until(lambda: finished(stage))
    stage.watch.sweep()
    assert home.exists
    stranger.kill()
    stranger.wait()
    until(lambda: stage.watch.sweep() or not home.exists)
    assert stage.registry.leftovers == []


def test_finish_refuses_the_living_and_detach_lets_them_go(stage: Stage) -> None:
    agent, child = stage.launch("sh", "-c", "sleep 60 & sleep 61", name="alive")
    until(lambda: len(stage.members(agent)) == 3)
    with pytest.raises(InvalidArgument, match="detach"):
        stage.watch.finish("alive", detach=False)
    stage.watch.finish("alive", detach=True)
    assert stage.members(agent) == []
    assert child.poll() is None
    assert stage.events[-1].finish.reason == "finished"
    with pytest.raises(AgentNotFound):
        stage.watch.finish("alive", detach=True)
    Cgroup.at(agent.cgroup_path).kill()
    until(lambda: stage.watch.sweep() or stage.watch.idle)


def test_a_restarted_sensor_adopts_its_agents(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60", name="kept")
    gone, short = stage.launch("sleep", "60", name="gone")
    short.kill()
    short.wait()
    stage.events.clear()
    stage.restart()
    assert stage.kernel.adopted
    assert stage.registry.find("kept").number == agent.number
    assert stage.members(agent) == [child.pid]
    assert [(event.agent_id, event.finish.reason) for event in stage.events] == [(gone.id, "exited")]


def test_without_its_registry_a_sensor_still_keeps_who_is_tagged(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60", name="kept")
    (stage.instance.state_dir / "agents.json").write_bytes(b"{")
    stage.restart()
    found = stage.registry.find(agent.id)
    assert (found.number, found.cgroup_path, found.cgroup_owned) == (agent.number, agent.cgroup_path, True)
    assert stage.members(found) == [child.pid]


def test_an_open_kill_is_asked_for_again_after_a_restart(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60")
    until(lambda: stage.kernel.task(child.pid).comm == "sleep")  # type: ignore[union-attr]
    stage.kernel.agents.set_flags(agent.number, on=int(AgentFlag.CONDEMNED))
    stage.restart()
    assert stage.condemned == [agent.id]
    stage.watch.sweep()
    assert stage.condemned == [agent.id]


def test_whoever_leaves_is_followed(stage: Stage) -> None:
    agent, _ = stage.launch("sh", "-c", f"echo $$ > {Cgroup.at('/').folder}/cgroup.procs; exec sleep 60")
    until(lambda: stage.kernel.agents.get(agent.number).flags & AgentFlag.LEAVERS)
    stage.watch.sweep()
    assert stage.kernel.leavers_followed
    assert os.getpid() not in stage.members(agent)
