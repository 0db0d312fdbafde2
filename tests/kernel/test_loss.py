"""Loss is exact and belongs to someone: what an agent did is what was received and what was counted as lost, by class."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from sensor.collect.decode import decode
from sensor.kernel import abi
from sensor.kernel.enums import AgentFlag, EventClass, LossReason
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from tests.kernel.watched import AGENT, OTHER, Watched

pytestmark = pytest.mark.root

RING = 64 * 1024
COUNT = 4000
# each turn is one connect record and nothing else: a datagram socket connects again and again
CONNECTS = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
for _ in range(int(sys.argv[1])):
    s.connect(('127.0.0.1', 9))
"""
SOCKETS = "import socket, sys\nfor _ in range(int(sys.argv[1])): socket.socket().close()\n"
FORKS = """
import os, sys
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
"""
Got = Counter[tuple[int, str]]


@pytest.fixture
def settings() -> KernelSettings:
    """A small ring, and no budgets."""
    return KernelSettings(ring_bytes=RING, process_rate=0, flow_rate=0, payload_rate=0, bulk_rate=0)


@pytest.fixture
def other(watched: Watched) -> Path:
    """A second agent's cgroup: who is moved there is the second agent's."""
    return watched.enrol_cgroup("other", OTHER)


def received(kernel: Kernel) -> Got:
    """Records in the ring, by agent and kind."""
    found: Got = Counter()
    while records := kernel.ring.read():
        kernel.ring.commit()
        found.update((int(event.agent_id, 16), str(event.WhichOneof("kind"))) for event in map(decode, records))
    return found


def test_ring_full_losses_are_exact(watched: Watched, kernel: Kernel) -> None:
    """Nobody reads: the ring takes what fits, the rest is counted."""
    watched.python(CONNECTS, COUNT)
    got, lost = received(kernel), kernel.losses.read()
    assert 0 < got[AGENT, "connect"] < COUNT
    assert got[AGENT, "connect"] + lost[AGENT, EventClass.FLOW, LossReason.RING_FULL] == COUNT
    assert set(lost) <= {(AGENT, each, LossReason.RING_FULL) for each in EventClass}


@pytest.mark.parametrize(
    ("code", "kinds", "event_class"),
    [(SOCKETS, ["socket"], EventClass.BULK), (FORKS, ["fork", "exit"], EventClass.PROCESS)],
    ids=["bulk", "process"],
)
def test_ring_full_losses_are_of_their_class(
    watched: Watched, kernel: Kernel, code: str, kinds: list[str], event_class: EventClass
) -> None:
    watched.python(CONNECTS, COUNT)  # fills the ring
    before = kernel.losses.read().get((AGENT, event_class, LossReason.RING_FULL), 0)
    watched.python(code, 500)
    lost = kernel.losses.read()[AGENT, event_class, LossReason.RING_FULL] - before
    # a process's own start and end: the shell's exec of the interpreter, and its exit
    own = 2 if event_class == EventClass.PROCESS else 0
    assert lost == 500 * len(kinds) + own
    watched.empty()


def test_losses_of_two_agents_at_once_are_each_ones_own(watched: Watched, kernel: Kernel, other: Path) -> None:
    """Both count on two CPUs at once, in the same entries of the same map as their own threads."""
    code = (
        "import socket, sys, threading\n"
        "def work():\n    s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "    for _ in range(int(sys.argv[1])): s.connect(('127.0.0.1', 9))\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "[each.start() for each in threads]\n[each.join() for each in threads]\n"
    )
    first = watched.start(sys.executable, "-c", code, str(COUNT))
    second = watched.held(sys.executable, "-c", code, str(COUNT))
    watched.move(second.pid, other)
    watched.go(first)
    watched.go(second)
    assert first.wait(30) == second.wait(30) == 0
    got, lost = received(kernel), kernel.losses.read()
    for agent in (AGENT, OTHER):
        assert got[agent, "connect"] + lost[agent, EventClass.FLOW, LossReason.RING_FULL] == 3 * COUNT


def test_losses_while_somebody_reads_are_exact(watched: Watched, kernel: Kernel) -> None:
    """The ring is full and empty in turns, and wraps many times; no record is torn, and none is counted twice."""
    child = watched.start(sys.executable, "-c", CONNECTS, str(10 * COUNT))
    watched.go(child)
    got: Got = Counter()
    while child.poll() is None:
        got += received(kernel)
    got += received(kernel)
    lost = kernel.losses.read()
    assert got[AGENT, "connect"] + lost.get((AGENT, EventClass.FLOW, LossReason.RING_FULL), 0) == 10 * COUNT
    assert got[AGENT, "connect"] * 128 > RING, "it wrapped"


def test_lost_records_take_no_sequence_number(watched: Watched, kernel: Kernel) -> None:
    """A gap in the numbers would be a defect: drops are counted instead."""
    for _ in range(3):
        watched.python(CONNECTS, COUNT // 2)
        watched.read()
    assert kernel.losses.read()
    numbers: dict[int, list[int]] = {}
    for event in watched.events:
        numbers.setdefault(event.record.cpu, []).append(event.record.sequence)
    for cpu, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), f"CPU {cpu}"


def test_losses_of_tcp_flows_add_up_with_runs_that_the_kernel_skipped(watched: Watched, kernel: Kernel) -> None:
    code = (
        "import socket, sys\nserver = socket.create_server(('127.0.0.1', 0))\n"
        "for _ in range(int(sys.argv[1])):\n"
        "    c = socket.create_connection(server.getsockname()); a, _ = server.accept(); c.close(); a.close()\n"
    )
    watched.python(code, 500)
    watched.python("pass")
    got, lost, missed = received(kernel), kernel.losses.read(), kernel.missed()
    seen = sum(got[AGENT, kind] for kind in ("bind", "listen", "connect", "establish", "close"))
    # bind and listen, then a connect, two establishments and two closes each
    assert seen + lost[AGENT, EventClass.FLOW, LossReason.RING_FULL] + missed.get("state", 0) == 2 + 5 * 500


class TestBudget:
    """Budgets per agent and class: a flooder blinds neither its neighbours nor its own detectors."""

    @pytest.fixture
    def settings(self) -> KernelSettings:
        """A hundred flow and bulk records at once, then one a second; process records without limit."""
        return KernelSettings(flow_rate=1, bulk_rate=1, process_rate=0, burst_s=100)

    def test_budget_losses_are_exact(self, watched: Watched, kernel: Kernel) -> None:
        watched.python(CONNECTS, COUNT)
        got, lost = received(kernel), kernel.losses.read()
        assert 100 <= got[AGENT, "connect"] < 200
        assert got[AGENT, "connect"] + lost[AGENT, EventClass.FLOW, LossReason.BUDGET] == COUNT

    def test_budget_of_bulk_is_not_that_of_flows(self, watched: Watched, kernel: Kernel) -> None:
        watched.python(SOCKETS, COUNT)
        watched.python(CONNECTS, 50)
        got, lost = received(kernel), kernel.losses.read()
        assert got[AGENT, "connect"] == 50
        assert got[AGENT, "exec"] == got[AGENT, "exit"] == 2
        assert set(lost) == {(AGENT, EventClass.BULK, LossReason.BUDGET)}
        assert got[AGENT, "socket"] + lost[AGENT, EventClass.BULK, LossReason.BUDGET] == COUNT + 1

    def test_budget_of_one_agent_is_not_its_neighbours(self, watched: Watched, kernel: Kernel, other: Path) -> None:
        watched.python(CONNECTS, COUNT)
        neighbour = watched.held(sys.executable, "-c", CONNECTS, "50")
        watched.move(neighbour.pid, other)
        watched.go(neighbour)
        assert neighbour.wait(20) == 0
        assert received(kernel)[OTHER, "connect"] == 50
        assert {agent for agent, _, _ in kernel.losses.read()} == {AGENT}

    def test_budget_of_a_new_agent_is_whole_however_many_there_were(self, watched: Watched, kernel: Kernel) -> None:
        """A budget goes with its agent: the thousandth has one too."""
        for number in range(5000):
            assert kernel.agents.put(1 << 32 | number, 1, 0)
            assert kernel.agents.delete(1 << 32 | number)
        watched.python(CONNECTS, COUNT)
        assert received(kernel)[AGENT, "connect"] < 200
        state = kernel.agents.get(AGENT)
        assert state
        assert state.tokens2 < 100, "flows"
        assert state.tokens1 == 0, "processes have no limit, and no account"


def test_losses_are_counted_when_their_map_is_full(watched: Watched, kernel: Kernel) -> None:
    """They are nobody's then; and what agents that are gone had lost makes room once it was told twice."""
    losses = kernel._maps["losses"]
    free = losses.max_entries - len(losses.keys())
    for number in range(free):
        losses.update(abi.ACCOUNT.pack(1 << 40 | number, 1, 1), (7).to_bytes(8, "little"))
    watched.python(CONNECTS, COUNT)
    got, lost = received(kernel), kernel.losses.read()
    assert got[AGENT, "connect"] + lost[0, EventClass.FLOW, LossReason.RING_FULL] == COUNT
    assert kernel.losses.read() == lost, "told once more before it goes"
    assert kernel.losses.read() == {account: count for account, count in lost.items() if account[0] in (0, AGENT)}


def test_losses_of_an_agent_that_lives_are_kept(watched: Watched, kernel: Kernel) -> None:
    losses = kernel._maps["losses"]
    kernel.agents.put(OTHER, 1, AgentFlag(0))
    for number in range(losses.max_entries // 2):
        losses.update(abi.ACCOUNT.pack(1 << 40 | number, 1, 1), (7).to_bytes(8, "little"))
    losses.update(abi.ACCOUNT.pack(OTHER, 1, 1), (7).to_bytes(8, "little"))
    for _ in range(3):
        assert kernel.losses.read()[OTHER, 1, 1] == 7
