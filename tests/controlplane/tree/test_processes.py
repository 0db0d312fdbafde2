"""One trap a test: who made whom, what runs, and what has ended."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.model import Process, ProcessKey
from controlplane.tree import AgentTree
from rubicon.v1 import agent_pb2, event_pb2, response_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, wire_key
from tests.controlplane.tree.stand import Stand

ROOT, A, B = key(10), key(11), key(12)
LAUNCHER = ProcessKey(1, 1)


def pids(processes: Iterable[Process]) -> list[int]:
    return [process.key.pid for process in processes]


def the(tree: AgentTree, process: ProcessKey) -> Process:
    found = tree.process(process)
    assert found is not None
    return found


def test_fork_exec_exit() -> None:
    k, stand = Kernel(), Stand()
    enrol = k.enrol(ROOT, labels={"job": "rome-7"}, command=["make"], on_alert="kill", enrolled_by="uid 0")
    tree = stand.take(enrol, k.fork(ROOT, A), made := k.exec(A, "cc", "-c", cwd="/src"), k.exit(A, status=2))
    process = the(tree, A)
    assert (process.parent, process.maker, process.execs) == (ROOT, ROOT, 1)
    assert (process.exe, process.argv, process.cwd) == ("/bin/cc", (b"cc", b"-c"), "/src")
    assert (process.alive, process.exited, process.status, process.signal) == (False, True, 2, 0)
    assert process.started_wall_ns == A.start_time_ns + HOST.clock_offset_ns
    assert process.image.time_ns == made.time_ns
    agent = tree.agent
    assert (agent.name, agent.labels, agent.command) == ("rollout", {"job": "rome-7"}, ("make",))
    assert (agent.on_alert, agent.enrolled_by, agent.root) == ("kill", "uid 0", ROOT)
    assert (agent.processes, agent.processes_total) == (1, 2)
    assert agent.state == agent_pb2.AGENT_STATE_RUNNING


def test_a_child_runs_its_makers_image_until_it_execs() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.exec(ROOT, "sh"), k.fork(ROOT, A), k.exec(ROOT, "true"), k.fork(ROOT, B))
    assert [the(tree, process).exe for process in (A, B)] == ["/bin/sh", "/bin/true"]
    stand.take(k.exec(A, "ls"))
    assert the(tree, A).exe == "/bin/ls"


def test_exec_chain_keeps_what_ran_before() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), *(k.exec(A, name) for name in ("env", "nice", "ssh")))
    process = the(tree, A)
    assert [image.exe for image in process.images] == ["/bin/env", "/bin/nice", "/bin/ssh"]
    assert (process.exe, process.execs) == ("/bin/ssh", 3)


def test_a_loop_of_execs_takes_nothing_from_the_children() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.exec(ROOT, "first"), k.fork(ROOT, A))
    stand.take(*(k.exec(ROOT, f"prog{n}") for n in range(20)), k.snapshot(ROOT, "again"))
    root = the(tree, ROOT)
    assert (root.execs, len(root.images), root.exe) == (21, 8, "/bin/prog19")
    assert the(tree, A).exe == "/bin/first"


def test_clone_parent_keeps_parent_and_maker_apart() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), k.fork(A, B, parent=ROOT))
    assert (the(tree, B).parent, the(tree, B).maker) == (ROOT, A)
    assert pids(tree.ancestors(B)) == [10]
    assert pids(tree.descendants(A)) == [12], "a kill of the maker's tree must reach it"


def test_clone_parent_by_the_root_stays_inside_the_agent() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A, parent=LAUNCHER))
    assert the(tree, A).parent == LAUNCHER
    assert pids(tree.ancestors(A)) == [10], "the launcher is not the agent's: the maker stands in"
    assert pids(tree.descendants(ROOT)) == [11]
    assert tree.process(LAUNCHER) is None


def test_vfork_then_exec_before_the_maker_runs_on() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.exec(ROOT, "sh"), k.fork(ROOT, A), k.exec(A, "ls"), k.fork(ROOT, B))
    assert [the(tree, process).exe for process in (A, B)] == ["/bin/ls", "/bin/sh"]


def test_setsid_and_double_fork_stay_attributed() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), k.fork(A, B), k.exit(A), k.exec(B, "daemon", parent=LAUNCHER))
    assert the(tree, B).parent == A
    assert pids(tree.ancestors(B)) == [11, 10]
    assert pids(tree.descendants(ROOT)) == [11, 12]


def test_exec_and_exit_before_the_fork_record() -> None:
    k, stand = Kernel(), Stand()
    start = [k.enrol(ROOT), k.snapshot(ROOT, "sh")]
    fork, below, execute, end = k.fork(ROOT, A), k.fork(A, B, cpu=1), k.exec(A, "cc", cpu=1), k.exit(A, cpu=1)
    tree = stand.take(*start, below, execute, end)
    assert the(tree, A).maker is None
    stand.take(fork)
    assert (the(tree, A).maker, the(tree, A).exe, the(tree, A).alive) == (ROOT, "/bin/cc", False)
    assert the(tree, B).exe == "/bin/sh", "what A ran when it forked"
    assert B in stand.last.process_of, "the late fork changed what B runs"


def test_a_lost_fork_leaves_a_placeholder_with_what_the_exec_says() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.exec(A, "ssh", parent=ROOT))
    assert pids(tree.ancestors(A)) == [10]
    assert tree.agent.processes_total == 2


def test_events_of_an_agent_whose_enrol_record_is_late() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.fork(ROOT, A))
    assert (tree.agent.name, tree.agent.enrolled, tree.agent.processes) == (AGENT, False, 2)
    stand.take(k.enrol(ROOT))
    assert (tree.agent.name, tree.agent.enrolled, tree.agent.processes) == ("rollout", True, 2)


def test_a_reused_pid_is_another_process_and_ends_the_first() -> None:
    k, stand = Kernel(), Stand()
    young = ProcessKey(A.pid, 5_000_000)
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), k.fork(ROOT, young))
    old = the(tree, A)
    assert (old.alive, old.exited, old.ended_ns) == (False, False, young.start_time_ns)
    assert the(tree, young).alive
    assert tree.agent.processes == 2
    end = k.exit(A, status=3)
    end.time_ns = 4_000_000
    stand.take(end)
    assert (old.exited, old.ended_ns, old.status) == (True, 4_000_000, 3)
    assert tree.agent.processes == 2


def test_a_pid_reused_in_another_agent_ends_the_first() -> None:
    k, other, stand = Kernel(), Kernel(agent="00000000b002"), Stand()
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A))
    stand.take(other.enrol(ProcessKey(A.pid, 9_000_000)))
    assert (the(tree, A).alive, tree.agent.processes) == (False, 1)
    assert A in stand.last.process_of
    assert {agent.id for agent in stand.last.agents} == {AGENT, "00000000b002"}


def test_a_snapshot_fills_in_and_recorded_execs_say_more() -> None:
    k, stand = Kernel(), Stand()
    execute, snapshot = k.exec(ROOT, "sh", "-c", "x"), k.snapshot(ROOT, "from-proc", parent=LAUNCHER)
    tree = stand.take(k.enrol(ROOT), snapshot)
    root = the(tree, ROOT)
    assert (root.exe, root.execs, root.parent) == ("/bin/from-proc", 0, LAUNCHER)
    stand.take(execute)
    assert (root.argv, root.execs) == ((b"sh", b"-c", b"x"), 1)


def test_join_enrols_and_a_stranger_stays_out() -> None:
    k, stand = Kernel(), Stand()
    container = "a1" * 32
    enrolled = event_pb2.Join(
        target=wire_key(A),
        cgroup_id=6,
        cgroup_path=f"/docker/{container}/sub",
        reason=event_pb2.JOIN_REASON_ENROLLED,
    )
    stranger = event_pb2.Join(target=wire_key(B), cgroup_id=5, reason=event_pb2.JOIN_REASON_STRANGER)
    tree = stand.take(
        k.enrol(None, cgroup_path="/rubicon/x", cgroup_ids=[5]),
        k.event(LAUNCHER, join=enrolled),
        k.event(A, join=stranger),
    )
    assert (the(tree, A).cgroup_id, the(tree, A).container) == (6, container)
    assert tree.process(B) is None
    assert tree.process(LAUNCHER) is None


def test_the_container_comes_from_the_agents_cgroup() -> None:
    k, stand = Kernel(), Stand()
    container = "0f" * 32
    tree = stand.take(k.fork(ROOT, A), k.enrol(ROOT, cgroup_path=f"/libpod_parent/libpod-{container}"))
    assert the(tree, A).container == container


def test_finish_ends_all_and_records_that_come_after_change_no_state() -> None:
    k, stand = Kernel(), Stand()
    late, end = k.fork(ROOT, B), k.exit(A, signal=9)
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), k.finish("killed"))
    assert (tree.agent.state, tree.agent.processes) == (agent_pb2.AGENT_STATE_KILLED, 0)
    stand.take(late, end)
    assert (tree.agent.state, tree.agent.processes) == (agent_pb2.AGENT_STATE_KILLED, 0)
    assert tree.agent.processes_total == 3
    assert the(tree, A).signal == 9


def test_a_freeze_that_was_overtaken_by_the_end_freezes_nobody() -> None:
    k, stand = Kernel(), Stand()
    late = k.event(None, contain=event_pb2.Contain(frozen=True, isolated=True))
    tree = stand.take(k.enrol(ROOT), k.finish("killed"), late)
    assert (tree.agent.state, tree.agent.frozen, tree.agent.isolated) == (agent_pb2.AGENT_STATE_KILLED, False, False)


def test_who_is_contained_learns_why() -> None:
    k, stand = Kernel(), Stand()

    def contain(action: str, reason: str, *, process: bool = False, **now: bool) -> str:
        told = event_pb2.Contain(action=response_pb2.Action.Value(f"ACTION_{action}"), reason=reason, **now)
        if process:
            told.process.pid = A.pid
        return stand.take(k.event(None, contain=told)).agent.contained_reason

    stand.take(k.enrol(ROOT), k.fork(ROOT, A))
    assert contain("FREEZE", "only a part", process=True) == ""
    assert contain("FREEZE", "it tunnels", frozen=True) == "it tunnels"
    assert contain("UNSPECIFIED", "in force", frozen=True) == "it tunnels"
    assert contain("ISOLATE", "it mines", frozen=True, isolated=True) == "it mines"
    assert contain("RELEASE", "enough") == ""
    assert contain("ISOLATE", "it mines", isolated=True) == "it mines"
    assert stand.take(k.finish("exited")).agent.contained_reason == ""


def test_finished_with_processes_going_on() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.finish("finished"))
    assert (tree.agent.state, tree.agent.detached) == (agent_pb2.AGENT_STATE_FINISHED, True)
    assert tree.agent.processes == 1
    assert the(tree, ROOT).alive


def test_loss_is_counted_for_its_agent() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.event(None, loss=event_pb2.Loss(count=3)), k.event(None, loss=event_pb2.Loss(count=4)))
    assert tree.agent.lost == 7
