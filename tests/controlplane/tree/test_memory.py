"""What has ended leaves memory, within limits, and attribution stays right."""

from __future__ import annotations

from controlplane.model import ProcessKey
from controlplane.tree import Limits
from tests.controlplane.builders import AGENT, Kernel, key
from tests.controlplane.tree.stand import Stand

ROOT, A, B, C = key(10), key(11), key(12), key(13)


def test_ended_processes_leave_and_late_records_do_not_revive_them() -> None:
    k, stand = Kernel(), Stand(Limits(process_linger_ns=5_000, ended_processes=4))
    tree = stand.take(k.enrol(ROOT))
    shorts = [ProcessKey(100 + n, 1_000_000 + n) for n in range(50)]
    for short in shorts:
        stand.take(k.fork(ROOT, short), k.exit(short))
    assert len(tree.processes.by_key) <= 1 + 4
    assert (tree.agent.processes, tree.agent.processes_total) == (1, 51)
    stand.take(k.exec(shorts[0], "late"))
    assert tree.process(shorts[0]) is None
    assert (tree.agent.processes, tree.agent.processes_total) == (1, 51)
    assert len(stand.host.shared.pids) == len(tree.processes.by_key)


def test_an_ended_process_stays_while_descendants_live() -> None:
    k, stand = Kernel(), Stand(Limits(process_linger_ns=0))
    tree = stand.take(k.enrol(ROOT), k.fork(ROOT, A), k.fork(A, B), k.exit(A), k.fork(ROOT, C), k.exit(C))
    assert [p.key.pid for p in tree.ancestors(B)] == [11, 10]
    stand.take(k.exit(B))
    assert set(tree.processes.by_key) == {ROOT}


def test_a_chain_of_ended_ancestors_is_bounded_and_keeps_attribution() -> None:
    """A worm: each process makes the next and ends."""
    k, stand = Kernel(), Stand(Limits(process_linger_ns=0, held_processes=5))
    tree = stand.take(k.enrol(ROOT), k.exec(ROOT, "worm"))
    last = ROOT
    for n in range(100):
        following = ProcessKey(200 + n, 2_000_000 + n)
        stand.take(k.fork(last, following), *([k.exit(last)] if last != ROOT else []))
        last = following
    assert len(tree.processes.by_key) < 10
    assert tree.agent.processes_forgotten > 80
    assert [p.key for p in tree.ancestors(last)][-1] == ROOT
    assert last in [p.key for p in tree.descendants(ROOT)]
    process = tree.process(last)
    assert process is not None
    assert process.exe == "/bin/worm"
    stand.take(k.exit(last))
    assert set(tree.processes.by_key) == {ROOT}
    assert not tree.processes._held
    assert not tree.processes._below


def test_large_arguments_make_ended_processes_leave_sooner() -> None:
    k, stand = Kernel(), Stand(Limits(ended_bytes=100_000))
    tree = stand.take(k.enrol(ROOT))
    for n in range(50):
        short = ProcessKey(100 + n, 1_000_000 + n)
        stand.take(k.fork(ROOT, short), k.exec(short, b"x" * 16_000), k.exit(short))
    assert len(tree.processes.by_key) < 10


def test_an_ended_agent_leaves_memory_and_is_not_revived() -> None:
    k, stand = Kernel(), Stand(Limits(agent_linger_ns=10_000))
    stand.take(k.enrol(ROOT), k.finish())
    late = k.exec(A, "late")
    late.time_ns += 1_000_000
    stand.take(late)
    assert stand.host.sweep() == [AGENT]
    assert stand.host.agents == {}
    assert stand.host.shared.pids == {}
    assert stand.host.agent(AGENT, 1, 0, stand.last) is None


def test_a_thousand_busy_agents_hold_a_bounded_number_of_things() -> None:
    limits = Limits(ended_processes=50, ended_flows=50, tombstones=100, flow_tombstones=100, ended_agents=10)
    stand = Stand(limits)
    for number in range(1, 1001):
        k = Kernel(agent=f"{number:012x}")
        root = ProcessKey(number, number)
        stand.take(k.enrol(root))
        for n in range(3):
            short = ProcessKey(2000 + number * 3 + n, 1_000_000 + number)
            stand.take(k.fork(root, short), k.exit(short))
        stand.take(k.exit(root), k.finish())
        stand.host.sweep()
    shared = stand.host.shared
    assert len(stand.host.agents) <= 10
    assert len(shared.owners) <= 10
    assert sum(len(tree.processes.by_key) for tree in stand.host.agents.values()) <= 60
    assert len(shared.gone) <= 100
    assert len(shared.pids) <= 60


def test_a_very_long_chain_of_living_forks_costs_one_step_a_fork() -> None:
    k, stand = Kernel(), Stand()
    tree = stand.take(k.enrol(ROOT), k.exec(ROOT, "sh"))
    last = ROOT
    for n in range(20_000):
        following = ProcessKey(1000 + n, 2_000_000 + n)
        stand.take(k.fork(last, following))
        last = following
    process = tree.process(last)
    assert process is not None
    assert process.exe == "/bin/sh"
    assert len(list(tree.ancestors(last))) == 20_000
