"""Freezing on the real kernel: nobody runs, whoever forks, leaves its cgroup or has none; and all runs again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rubicon.v1 import response_pb2
from sensor.act.cgroup import Cgroup
from sensor.act.containing import Containing
from sensor.act.enrol import Facts
from sensor.act.kill import Order
from sensor.errors import InvalidArgument, ProcessNotFound, TargetProtected
from tests.sensor.act.keeper import compiled, kept
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
COUNTER = "while :; do echo >> {}; done"


def still(path: Path) -> bool:
    """A file that grows all the time grows no more: it is watched for a fifth of a second."""
    before = path.stat().st_size
    time.sleep(0.2)
    return path.stat().st_size == before


@pytest.mark.parametrize("stage", ["auto", "never"], indirect=True)
def test_a_tree_stops_and_goes_on(stage: Stage, tmp_path: Path) -> None:
    count = tmp_path / "count"
    if stage.move == "never":
        child = stage.plain("sh", "-c", COUNTER.format(count))
        agent = stage.enroller.enrol_process(child.pid, Facts())
    else:
        agent, child = stage.launch("sh", "-c", COUNTER.format(count))
    until(count.exists)
    said: list[int] = []
    response = stage.containment.freeze(agent, Containing(applied=lambda so_far: said.append(so_far.state)))
    assert response.state == VERIFIED, str(response)
    assert said == [response_pb2.RESPONSE_STATE_APPLIED]
    assert ("cgroup.freeze" in response.steps) == (stage.move == "auto")
    assert still(count)
    assert stage.containment.freeze(agent, Containing()).state == VERIFIED  # again: nothing changes
    assert still(count)
    stage.containment.release(agent, Containing())
    until(lambda: not still(count))


def test_a_leaver_stops_too_and_who_had_stopped_himself_stays_so(stage: Stage, tmp_path: Path) -> None:
    count = tmp_path / "count"
    agent, child = stage.launch("sh", "-c", COUNTER.format(count))
    until(count.exists)
    Cgroup.at("/").move(child.pid)
    response = stage.containment.freeze(agent, Containing())
    assert response.state == VERIFIED
    assert still(count)
    os.kill(child.pid, signal.SIGCONT)  # somebody wakes it

    def stopped_again() -> bool:
        stage.watch.sweep()
        return still(count)

    until(stopped_again)
    stage.containment.release(agent, Containing())
    until(lambda: not still(count))
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: stage.kernel.task(child.pid).state == "T")  # until then the freeze would be what stops it
    stage.containment.freeze(agent, Containing())
    stage.containment.release(agent, Containing())
    assert still(count)


@pytest.mark.parametrize("mode", ["leaf", "mixed"])
def test_a_fork_bomb_freezes_and_a_frozen_one_dies(stage: Stage, mode: str) -> None:
    with stage.bomb(compiled("bomb"), "64", "30", mode, most=1200) as (agent, bomb):
        until(lambda: len(bomb.living()) > 40)
        assert stage.containment.freeze(agent, Containing()).state == VERIFIED
        assert bomb.living()
        response = stage.killer.kill_agent(agent, Order())
        assert response.state == VERIFIED, str(response)
        assert bomb.living() == set()


@pytest.mark.parametrize("stage", ["never"], indirect=True)
def test_a_fork_bomb_without_a_cgroup_freezes(stage: Stage) -> None:
    with kept(compiled("bomb"), "32", "30", "mixed") as bomb:
        agent = stage.enroller.enrol_process(bomb.pid, Facts())
        bomb.release()
        bomb.line()
        until(lambda: len(bomb.living()) > 20)
        response = stage.containment.freeze(agent, Containing())
        assert response.state == VERIFIED, str(response)
        states = {task.state for task in stage.kernel.tasks() if task.agent == agent.number} - {"Z", "X"}
        assert states <= {"T", "t", "D"}  # D: in vfork, waiting for a child that has stopped
        assert stage.killer.kill_agent(agent, Order()).state == VERIFIED
        assert bomb.living() == set()


def test_one_process_with_its_descendants(stage: Stage, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    agent, child = stage.launch("sh", "-c", f"({COUNTER.format(one)}) & echo $!; {COUNTER.format(other)}")
    assert child.stdout
    pid = int(child.stdout.readline())
    until(lambda: one.exists() and other.exists())
    task = stage.kernel.task(pid)
    assert task
    assert stage.containment.freeze(agent, Containing(), (pid, task.start_time)).state == VERIFIED
    assert still(one)
    assert not still(other)

    def stopped_again() -> bool:
        stage.watch.sweep()  # it looks again after nine times as long as the look before took
        return still(one)

    for _ in range(3):  # a sibling, or anybody else, wakes it: the next look stops it, also a new sensor's
        os.kill(pid, signal.SIGCONT)
        until(stopped_again)
    os.kill(pid, signal.SIGCONT)
    stage.restart()
    assert still(one)
    assert not still(other)
    stage.containment.release(stage.registry.find(agent.id), Containing())
    until(lambda: not still(one))


def test_one_process_is_released_by_itself(stage: Stage, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    first, second = (f"(sh -c '{COUNTER.format(each)}; :' & echo $!; wait) & echo $!" for each in (one, other))
    agent, child = stage.launch("sh", "-c", f"{first}; {second}; wait")
    assert child.stdout
    pids = [int(child.stdout.readline()) for _ in range(4)]
    until(lambda: one.exists() and other.exists())
    tasks = {pid: stage.kernel.task(pid) for pid in pids}
    above = {pid: (pid, task.start_time) for pid, task in tasks.items() if task and task.parent_pid == child.pid}
    below = {task.parent_pid: (pid, task.start_time) for pid, task in tasks.items() if task and pid not in above}
    for each in above.values():
        assert stage.containment.freeze(agent, Containing(), each).state == VERIFIED
    assert still(one)
    assert still(other)
    freed, held = above.values()
    with pytest.raises(InvalidArgument, match="a process that it descends from"):
        stage.containment.release(agent, Containing(), below[freed[0]])
    response = stage.containment.release(agent, Containing(), freed)
    assert (response.state, [*response.steps]) == (
        VERIFIED,
        ["thawed, 2 woken by signal", "2 others of the agent stay frozen"],
    )
    stage.watch.sweep()
    until(lambda: still(one) != still(other))
    assert still(one) != still(other), "the other one stays frozen"
    assert stage.containment.release(agent, Containing(), freed).steps[0] == "nothing was in force"
    with pytest.raises(ProcessNotFound):
        stage.containment.release(agent, Containing(), (held[0], held[1] + 1))
    stage.containment.release(agent, Containing(), held)
    until(lambda: not still(one) and not still(other))
    assert not agent.stands
    stage.containment.freeze(agent, Containing())
    with pytest.raises(InvalidArgument, match=f"frozen with agent {agent.name}"):
        stage.containment.release(agent, Containing(), freed)


def test_who_has_ended_keeps_nobody_frozen(stage: Stage) -> None:
    agent, child = stage.launch(
        "sh", "-c", "(sh -c 'sleep 1000 & echo $!; wait' & echo $!; wait) & echo $!; sleep 1000"
    )
    assert child.stdout
    pids = [int(child.stdout.readline()) for _ in range(3)]
    tasks = [task for pid in pids if (task := stage.kernel.task(pid))]
    top = next(task for task in tasks if task.parent_pid == child.pid)
    middle = next(task for task in tasks if task.parent_pid == top.pid)
    below = next(task for task in tasks if task.parent_pid == middle.pid)
    key = top.pid, top.start_time
    assert stage.containment.freeze(agent, Containing(), key).state == VERIFIED
    os.kill(middle.pid, signal.SIGKILL)
    until(lambda: not stage.kernel.task(middle.pid) or stage.kernel.task(middle.pid).state in "ZX")
    response = stage.containment.release(agent, Containing(), key)
    assert [*response.steps] == ["thawed, 1 woken by signal", "1 others of the agent stay frozen"]
    assert agent.stopped == [[below.pid, below.start_time]]
    os.kill(below.pid, signal.SIGKILL)
    until(lambda: not stage.kernel.task(below.pid) or stage.kernel.task(below.pid).state in "ZX")
    response = stage.containment.release(agent, Containing(), stage.key(child.pid))
    assert [*response.steps] == ["nothing was in force"]
    assert not agent.stands


def test_it_stays_frozen_without_a_sensor_and_ends_by_time(stage: Stage, tmp_path: Path) -> None:
    count = tmp_path / "count"
    agent, _ = stage.launch("sh", "-c", COUNTER.format(count))
    until(count.exists)
    stage.containment.freeze(agent, Containing(ttl_ns=4_000_000_000))
    stage.restart()
    assert still(count)
    again = stage.registry.find(agent.id)

    def over() -> bool:
        stage.watch.sweep()
        return not again.frozen

    until(over)
    until(lambda: not still(count))


def test_the_callers_own_tree_is_refused(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60")
    task = stage.kernel.task(child.pid)
    assert task
    order = Containing(caller=(child.pid, task.start_time))
    with pytest.raises(TargetProtected):
        stage.containment.freeze(agent, order)
    with pytest.raises(TargetProtected):
        stage.containment.isolate(agent, order)
