"""Enrolment on the real kernel: nobody of the tree is missed, nobody else is taken."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from sensor.act.cgroup import Cgroup, of_process
from sensor.act.enrol import Facts
from sensor.act.kill import Order
from sensor.act.protect import refuse_sensor
from sensor.errors import (
    AgentNameTaken,
    AlreadyEnrolled,
    CgroupNotFound,
    InvalidArgument,
    ProcessNotFound,
    SensorError,
    TargetProtected,
)
from sensor.kernel.enums import TagFlag
from tests.sensor.act.keeper import compiled, kept
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root


@pytest.fixture
def foreign() -> Iterator[Cgroup]:
    """A cgroup that somebody else made, as a container runtime does."""
    made = Cgroup.at(f"/rubicon-t-foreign-{os.getpid()}-{secrets.token_hex(4)}")
    made.make()
    yield made
    made.kill()
    until(made.remove)


def test_a_launched_process_is_tagged_before_it_executes(stage: Stage) -> None:
    child = stage.held("sh", "-c", "sleep 60 & (setsid sleep 61 &) ; wait")
    agent = stage.enroller.launch(child.pid, Facts(name="first", labels={"k": "v"}))
    tag = stage.kernel.tags.get(child.pid)
    assert tag
    assert tag.agent == agent.number
    assert tag.flags & TagFlag.ROOT
    assert of_process(child.pid).path == agent.cgroup_path == f"/{stage.instance.cgroup}/{agent.id}"
    assert stage.kinds() == ["enrol"]
    enrol = stage.events[0].enrol
    assert (enrol.name, dict(enrol.labels), enrol.cgroup_owned) == ("first", {"k": "v"}, True)
    assert (enrol.root.pid, enrol.root.start_time_ns) == stage.key(child.pid)
    assert list(enrol.cgroup_ids) == [agent.cgroup_id]
    stage.release(child)
    home = stage.enroller.cgroup(agent)
    assert home
    until(lambda: len(home.processes()) == 3 and home.processes() == set(stage.members(agent)))


def test_the_first_owner_stays(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60")
    for enrol in (stage.enroller.launch, stage.enroller.enrol_process):
        with pytest.raises(AlreadyEnrolled, match=agent.id):
            enrol(child.pid, Facts())
    assert stage.members(agent) == [child.pid]
    assert len(stage.registry) == 1


def test_a_name_is_unique_among_the_living(stage: Stage) -> None:
    stage.launch("sleep", "60", name="same")
    other = stage.held("sleep", "60")
    with pytest.raises(AgentNameTaken, match="same"):
        stage.enroller.launch(other.pid, Facts(name="same"))
    assert stage.kernel.tags.get(other.pid) is None
    assert of_process(other.pid) == of_process(os.getpid())


def test_a_process_that_is_gone_or_whose_pid_was_reused(stage: Stage) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    living = stage.plain("sleep", "60")
    with pytest.raises(ProcessNotFound):
        stage.enroller.launch(gone.pid, Facts())
    with pytest.raises(ProcessNotFound, match="given to another"):
        stage.enroller.launch(living.pid, Facts(), stage.key(living.pid)[1] - 1)
    assert len(stage.registry) == 0
    assert list(stage.kernel.agents.items()) == []


def test_a_process_that_ends_while_it_is_launched_is_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    child = stage.held("sleep", "60")
    tag_sockets = stage.kernel.tag_sockets

    def meanwhile(number: int) -> None:
        child.kill()
        child.wait()
        tag_sockets(number)

    monkeypatch.setattr(stage.kernel, "tag_sockets", meanwhile)
    with pytest.raises(ProcessNotFound, match="ended while"):
        stage.enroller.launch(child.pid, Facts(name="short"))
    # its exit is in the ring under the agent's id: who knows it from there must hear that it is over
    assert stage.kinds() == ["enrol", "finish"]
    begun, ended = stage.events
    assert begun.agent_id == ended.agent_id
    assert (begun.enrol.name, ended.finish.reason) == ("short", "exited")
    assert len(stage.registry) == 0


def test_the_sensor_and_what_it_descends_from_cannot_be_enrolled(stage: Stage) -> None:
    # asked of the check itself: were it broken, enrolling would take the machine that runs this test
    tasks = stage.kernel.tasks()
    for pid in (1, os.getpid(), os.getppid()):
        with pytest.raises(TargetProtected):
            refuse_sensor(tasks=tasks, pid=pid)
    with pytest.raises(TargetProtected):
        refuse_sensor(cgroup=of_process(os.getpid()))
    refuse_sensor(tasks=tasks, pid=stage.plain("sleep", "60").pid)


@pytest.mark.parametrize("facts", [Facts(name="a/b"), Facts(on_alert="explode"), Facts(agent_id="xyz")])
def test_facts_that_cannot_be(stage: Stage, facts: Facts) -> None:
    child = stage.held("true")
    with pytest.raises(InvalidArgument):
        stage.enroller.launch(child.pid, facts)
    assert len(stage.registry) == 0


def test_a_living_tree_is_enrolled_whole(stage: Stage) -> None:
    tree = "sleep 60 & sh -c 'sleep 61 & exec setsid sleep 62' & (exec sleep 63) & echo up; wait"
    child = stage.plain("sh", "-c", tree)
    assert child.stdout
    child.stdout.readline()
    bystander = stage.plain("sleep", "60")
    until(lambda: sum(task.parent_pid == child.pid for task in stage.kernel.tasks()) == 3)
    agent = stage.enroller.enrol_process(child.pid, Facts())
    assert len(stage.members(agent)) == 5
    assert bystander.pid not in stage.members(agent)
    assert stage.kinds().count("process_snapshot") == 5
    assert stage.enroller.cgroup(agent).processes() == set(stage.members(agent))  # type: ignore[union-attr]


@pytest.mark.parametrize("stage", ["never"], indirect=True)
def test_a_tree_that_must_not_move_is_enrolled_where_it_is(stage: Stage) -> None:
    child = stage.plain("sleep", "60")
    agent = stage.enroller.enrol_process(child.pid, Facts())
    assert agent.cgroup_path == ""
    assert of_process(child.pid) == of_process(os.getpid())
    assert stage.members(agent) == [child.pid]


def test_a_tree_that_forks_all_the_time_is_enrolled_whole(stage: Stage) -> None:
    # forkers that live on: see enrol.py for the child of a parent that has just ended
    with kept(compiled("bomb"), "4", "20", "leaf", most=200) as bomb:
        bomb.release()
        bomb.line()
        agent = stage.enroller.enrol_process(bomb.pid, Facts())
        cgroup = stage.enroller.cgroup(agent)
        assert cgroup
        # frozen, so that nobody is half born or half dead while we look
        assert cgroup.freeze()
        until(lambda: "frozen 1" in (cgroup.folder / "cgroup.events").read_text())
        assert bomb.living()
        assert bomb.living() == set(stage.members(agent)) == cgroup.processes()
        stage.killer.kill_agent(agent, Order())
        until(lambda: not bomb.living())


def test_a_cgroup_is_enrolled_with_who_is_in_it_and_who_comes(stage: Stage, foreign: Cgroup) -> None:
    inside = stage.plain("sleep", "60")
    below = Cgroup.at(foreign.path + "/below")
    below.make()
    below.move(inside.pid)
    agent = stage.enroller.enrol_cgroup(foreign.path, Facts(name="container"))
    assert stage.members(agent) == [inside.pid]
    later = stage.plain("sleep", "60")
    foreign.move(later.pid)
    until(lambda: set(stage.members(agent)) == {inside.pid, later.pid})
    with pytest.raises(AlreadyEnrolled):
        stage.enroller.enrol_cgroup(below.path, Facts())
    with pytest.raises(AlreadyEnrolled):
        stage.enroller.enrol_cgroup(foreign.path, Facts())
    assert not stage.events[0].enrol.cgroup_owned


@pytest.mark.parametrize("path", ["/rubicon-never-was", "/../etc"])
def test_a_cgroup_that_is_not_there(stage: Stage, path: str) -> None:
    with pytest.raises(CgroupNotFound):
        stage.enroller.enrol_cgroup(path, Facts())


def test_the_root_cgroup_is_no_agent(stage: Stage) -> None:
    with pytest.raises(InvalidArgument):
        stage.enroller.enrol_cgroup("/", Facts())


def test_an_agent_that_finds_no_place_is_refused(stage: Stage) -> None:
    """The kernel's map of agents is full: an agent that no hook knows must not be said to be watched."""
    number = 0
    while stage.kernel.agents.put((1 << 44) + number, 0, 0):
        number += 1
    assert number == 4096
    child = stage.plain("sleep", "60")
    with pytest.raises(SensorError, match="as many agents"):
        stage.enroller.enrol_process(child.pid, Facts())
    assert len(stage.registry) == 0
    assert not stage.kernel.tags.get(child.pid)
    assert child.poll() is None
