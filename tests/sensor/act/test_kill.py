"""Kill on the real kernel: all of the target, nobody else, and the truth about what is left."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import response_pb2
from rubicon.v1.instance import Instance
from sensor.act.cgroup import Cgroup
from sensor.act.enrol import Facts
from sensor.act.hunt import Hunt
from sensor.act.kill import Order
from sensor.act.processes import ancestors, family
from sensor.act.protect import shielded
from sensor.errors import ProcessNotFound, TargetProtected
from sensor.kernel import host
from sensor.kernel.enums import AgentFlag
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.sensor.act.keeper import compiled, v1
from tests.sensor.act.stage import Stage, gone, until

pytestmark = pytest.mark.root
VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED
TREE = "(setsid sh -c 'sleep 60 & sleep 61' &) ; sleep 62 & sleep 63"


def test_the_whole_tree_dies_and_it_is_verified(stage: Stage) -> None:
    agent, _child = stage.launch("sh", "-c", TREE)
    bystander = stage.plain("sleep", "60")
    until(lambda: len(stage.members(agent)) == 6)
    pids = stage.members(agent)
    said: list[tuple[int, list[str]]] = []
    order = Order(reason="test", requested_by="me", applied=lambda so_far: said.append((so_far.state, [*so_far.steps])))
    response = stage.killer.kill_agent(agent, order)
    assert response.state == VERIFIED
    assert said == [(response_pb2.RESPONSE_STATE_APPLIED, ["condemned", "cgroup.kill"])]
    assert response.killed == 6
    assert all(gone(pid) for pid in pids)
    assert bystander.poll() is None
    assert list(response.steps[:2]) == ["condemned", "cgroup.kill"]
    assert list(response.steps[-2:]) == ["task iterator empty", "cgroup.procs empty"]
    assert 0 < response.elapsed_ns < 2e9
    assert (response.reason, response.requested_by, response.agent_id) == ("test", "me", agent.id)
    stage.watch.sweep()
    assert stage.events[-1].finish.reason == "killed"


@pytest.mark.parametrize("stage", ["never"], indirect=True)
def test_without_a_cgroup_signals_do_it(stage: Stage) -> None:
    child = stage.plain("sh", "-c", f"echo; {TREE}")
    until(lambda: sum(task.parent_pid == child.pid for task in stage.kernel.tasks()) >= 2)
    agent = stage.enroller.enrol_process(child.pid, Facts())
    count = len(stage.members(agent))
    response = stage.killer.kill_agent(agent, Order())
    assert response.state == VERIFIED
    assert response.killed == count
    assert f"pidfd {count}" in response.steps


def test_whoever_left_the_cgroup_dies_too(stage: Stage) -> None:
    root = Cgroup.at("/").folder
    agent, _child = stage.launch("sh", "-c", f"sh -c 'echo $$ > {root}/cgroup.procs; exec setsid sleep 60' & sleep 61")
    until(lambda: stage.kernel.agents.get(agent.number).flags & AgentFlag.LEAVERS)
    pids = stage.members(agent)
    assert stage.killer.kill_agent(agent, Order()).state == VERIFIED
    assert all(gone(pid) for pid in pids)


def test_a_stranger_in_the_cgroup_lives(stage: Stage) -> None:
    stranger = stage.plain("sleep", "60")
    agent, mover = stage.mover()
    home = stage.enroller.cgroup(agent)
    assert home
    stage.move_by(mover, stranger.pid, home)
    response = stage.killer.kill_agent(agent, Order())
    assert response.state == VERIFIED
    assert "cgroup.kill" not in response.steps
    assert "cgroup.procs: strangers only" in response.steps
    assert stranger.poll() is None
    assert gone(mover.pid)


def test_a_reused_pid_is_not_signalled(stage: Stage) -> None:
    agent, _child = stage.launch("sleep", "60")
    innocent = stage.plain("sleep", "60")
    pid, start_time = stage.key(innocent.pid)
    response = stage.killer.kill_agent(agent, Order(descendants=[(pid, start_time - 10_000_000)]))
    assert response.state == VERIFIED
    assert innocent.poll() is None


def test_the_planes_descendants_die_with_their_children(stage: Stage) -> None:
    agent, _child = stage.launch("sleep", "60")
    escaped = stage.plain("sh", "-c", "sleep 60 & sleep 61")
    until(lambda: sum(task.parent_pid == escaped.pid for task in stage.kernel.tasks()) == 2)
    children = [task.pid for task in stage.kernel.tasks() if task.parent_pid == escaped.pid]
    response = stage.killer.kill_agent(agent, Order(descendants=[stage.key(escaped.pid)]))
    assert response.state == VERIFIED
    assert response.killed == 4
    assert all(gone(pid) for pid in (escaped.pid, *children))


def test_the_caller_and_its_ancestors_are_protected(stage: Stage) -> None:
    agent, child = stage.launch("sh", "-c", "sleep 60 & sleep 61")
    until(lambda: len(stage.members(agent)) == 3)
    caller = next(pid for pid in stage.members(agent) if pid != child.pid)
    with pytest.raises(TargetProtected, match="force"):
        stage.killer.kill_agent(agent, Order(caller=stage.key(caller)))
    assert len(stage.members(agent)) == 3
    assert not stage.kernel.agents.get(agent.number).flags & AgentFlag.CONDEMNED
    assert stage.killer.kill_agent(agent, Order(caller=stage.key(caller), force=True)).state == VERIFIED


def test_the_sensor_and_what_it_descends_from_are_nobodys_descendants(stage: Stage) -> None:
    # the set alone is asked for and nothing is signalled: were the check broken, a kill would take this machine
    agent, child = stage.launch("sleep", "60")
    tasks = stage.kernel.tasks()
    line = ancestors(tasks, os.getpid())
    hunt = Hunt(stage.kernel, agent, stage.enroller.cgroup(agent), [*line, (0, 0)], None)
    hunt.shield(shielded(tasks))
    assert [task.pid for task in hunt.members(tasks)] == [child.pid]
    assert hunt.spared[stage.key(os.getpid())] == "the sensor itself"
    assert set(hunt.spared) == line


def test_a_family_has_no_way_through_pid_1(stage: Stage) -> None:
    tasks = stage.kernel.tasks()
    above = {(task.parent_pid, task.parent_start_time) for task in tasks if task.parent_pid in (0, 1)}
    assert above
    assert family(tasks, above) == []


def test_a_process_dies_with_its_descendants_and_nobody_else(stage: Stage) -> None:
    agent, child = stage.launch(
        "sh", "-c", "sleep 60 & sh -c 'echo $$; (setsid sleep 61 &) ; sh -c \"sleep 62 & wait\" & wait' & wait"
    )
    assert child.stdout
    target = int(child.stdout.readline())
    shape = ["sh"] * 3 + ["sleep"] * 3
    until(lambda: sorted(task.comm for task in stage.kernel.tasks() if task.agent == agent.number) == shape)
    orphan = next(pid for pid in stage.members(agent) if _argv(pid) == [b"sleep", b"61"])
    response = stage.killer.kill_process(agent, stage.key(target), Order(descendants=[stage.key(orphan)]))
    assert response.state == VERIFIED
    assert response.killed == 4
    assert len(stage.members(agent)) == 2
    assert gone(orphan)
    assert child.poll() is None
    assert response.target.process.pid == target


def test_a_process_of_nobody_is_not_found(stage: Stage) -> None:
    agent, child = stage.launch("sleep", "60")
    other = stage.plain("sleep", "60")
    with pytest.raises(ProcessNotFound):
        stage.killer.kill_process(agent, (2**22 - 1, 1), Order())
    with pytest.raises(ProcessNotFound):
        stage.killer.kill_process(agent, (child.pid, 1), Order())
    assert other.poll() is None
    assert child.poll() is None


def test_a_fork_bomb_inside_an_agent_dies_and_its_siblings_live(stage: Stage) -> None:
    with stage.bomb("sh", "-c", f"{compiled('bomb')} 8 20 & sleep 60") as (agent, bomb):
        target = next(task for task in stage.kernel.tasks() if task.comm == "bomb" and task.parent_pid == bomb.pid)
        response = stage.killer.kill_process(agent, (target.pid, target.start_time), Order())
        assert response.state == VERIFIED, str(response)
        assert len(stage.members(agent)) == 2
        assert len(bomb.living()) == 2
        assert stage.killer.kill_agent(agent, Order()).state == VERIFIED
        assert bomb.status() == 137


def test_what_cannot_die_yet_is_reported_and_followed(stage: Stage, v1_freezer: Path) -> None:
    agent, child = stage.launch("sleep", "60")
    (v1_freezer / "cgroup.procs").write_text(str(child.pid))
    (v1_freezer / "freezer.state").write_text("FROZEN")
    until(lambda: (v1_freezer / "freezer.state").read_text().strip() == "FROZEN")
    try:
        response = stage.killer.kill_agent(agent, Order(reason="stuck"))
        assert response.state == response_pb2.RESPONSE_STATE_FAILED
        assert [survivor.id.pid for survivor in response.survivors] == [child.pid]
        assert "not yet dead" in response.survivors[0].why
        assert stage.kernel.agents.get(agent.number).flags & AgentFlag.CONDEMNED
        stage.watch.sweep()
        assert stage.condemned == [agent.id]
    finally:
        (v1_freezer / "freezer.state").write_text("THAWED")
    assert child.wait(timeout=10) == -9
    until(lambda: stage.watch.sweep() or "finish" in stage.kinds())
    assert stage.events[-1].finish.reason == "killed"


def _argv(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.fixture
def v1_freezer() -> Iterator[Path]:
    folder = v1("freezer") / f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir()
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


@pytest.fixture
def small(root_lock: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A tag hash of 256 places, the objects for kernels whose fork hook cannot end a child, and no cgroups."""
    monkeypatch.setattr(host, "has_atomic_fetch", lambda: False)
    instance = Instance(f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}")
    instance.state_dir.mkdir(mode=0o700, parents=True)
    stage = Stage(instance, Kernel.open(instance, KernelSettings(tag_memory_bytes=256 * 96)), move="never")
    try:
        yield stage
    finally:
        stage.clean()


def test_who_found_no_place_in_the_tag_hash_is_raised_and_dies(small: Stage) -> None:
    code = "import os\nif not os.fork():\n    print(os.getpid(), flush=True)\n    import time\n    time.sleep(600)\n"
    child = small.held(sys.executable, "-c", code)
    agent = small.enroller.enrol_process(child.pid, Facts())
    for number in range(len(list(small.kernel.tags.items())), small.kernel.tags.capacity):
        assert small.kernel.tags.add((1 << 30) + number, 0xB6E27, 1, 0)
    small.release(child)
    assert child.stdout
    lost = int(child.stdout.readline())
    assert child.wait(60) == -9
    assert not small.members(agent)
    small.watch.sweep()
    assert small.condemned == [agent.id], "it lives on in who has no tag"
    (raised,) = (event for event in small.events if event.HasField("tag_pressure"))
    assert (raised.process.pid, raised.tag_pressure.untagged) == (child.pid, 1)
    assert (raised.tag_pressure.capacity, raised.tag_pressure.high_water) == (256, 224)
    assert not gone(lost)
    response = small.killer.kill_agent(agent, Order(force=True))
    assert (response.state, response.killed) == (VERIFIED, 1)
    assert gone(lost)
    small.watch.sweep()
    assert small.events[-1].finish.reason == "killed"
    assert sum(event.HasField("tag_pressure") for event in small.events) == 1
