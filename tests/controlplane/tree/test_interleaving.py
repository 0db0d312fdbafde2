"""Records of different CPUs come in any order: the final tree is the same."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model import Changes, ProcessKey
from controlplane.tree import HostTree, Limits
from rubicon.v1 import event_pb2
from tests.controlplane.builders import AGENT, HOST, SENSOR, Kernel, key, tcp


@dataclass
class World:
    """A host that runs at random and writes down what the kernel would record."""

    choose: random.Random
    cpus: int = 3
    kernel: Kernel = field(default_factory=Kernel)
    living: list[ProcessKey] = field(default_factory=list)
    parents: dict[ProcessKey, ProcessKey | None] = field(default_factory=dict)
    events: list[event_pb2.Event] = field(default_factory=list)
    execs: dict[ProcessKey, int] = field(default_factory=dict)
    """Beyond the limit of remembered images, what a late fork inherits is not known for certain."""

    def cpu(self) -> int:
        return self.choose.randrange(self.cpus)

    def add(self, event: event_pb2.Event) -> None:
        self.events.append(event)

    def begin(self) -> None:
        root = key(100)
        self.living, self.parents = [root], {root: ProcessKey(1, 1)}
        self.add(self.kernel.enrol(root, cgroup_path="/rubicon/" + AGENT, cgroup_ids=[5]))
        self.add(self.kernel.snapshot(root, "sh", parent=ProcessKey(1, 1)))

    def step(self) -> None:
        process = self.choose.choice(self.living)
        what = self.choose.choices(["fork", "exec", "exit", "socket", "close"], [5, 3, 3, 2, 1])[0]
        if what == "fork":
            self.fork(process)
        elif what == "exec" and self.execs.get(process, 0) < Limits().images:
            self.execs[process] = self.execs.get(process, 0) + 1
            number = self.choose.randrange(100)
            self.add(self.kernel.exec(process, f"prog{number}", parent=self.parents[process], cpu=self.cpu()))
        elif what == "exit" and len(self.living) > 1:
            self.living.remove(process)
            for child, parent in self.parents.items():
                if parent == process:
                    self.parents[child] = ProcessKey(1, 1)
            self.add(self.kernel.exit(process, self.choose.randrange(3), cpu=self.cpu()))
        elif what == "socket":
            cookie = self.choose.randrange(1, 6)
            kind = self.choose.choice(["socket", "connect", "establish"])
            self.add(self.kernel.flow(process, kind, tcp(cookie, port=self.choose.randrange(1, 9)), self.cpu()))
        elif what == "close":
            flow = tcp(self.choose.randrange(1, 6))
            self.add(
                self.kernel.flow(
                    process,
                    "close",
                    flow,
                    self.cpu(),
                    bytes_sent=self.choose.randrange(9),
                    reason=self.choose.choice([1, 2, 3]),
                )
            )

    def fork(self, maker: ProcessKey) -> None:
        free = [pid for pid in range(100, 112) if pid not in {k.pid for k in self.living}]
        if not free:
            return
        child = ProcessKey(self.choose.choice(free), self.kernel.now + 500)
        parent = self.parents[maker] if self.choose.random() < 0.2 else maker
        self.living.append(child)
        self.parents[child] = parent
        self.add(self.kernel.fork(maker, child, parent, self.cpu(), cgroup=self.choose.choice([5, 6])))


def interleave(events: list[event_pb2.Event], choose: random.Random) -> list[event_pb2.Event]:
    """Another order that keeps that of each CPU."""
    streams: dict[int, list[event_pb2.Event]] = {}
    for event in events:
        streams.setdefault(event.record.cpu, []).append(event)
    order = [cpu for cpu, stream in streams.items() for _ in stream]
    choose.shuffle(order)
    heads = {cpu: iter(stream) for cpu, stream in streams.items()}
    return [next(heads[cpu]) for cpu in order]


def run(events: list[event_pb2.Event]) -> HostTree:
    host = HostTree(HOST.boot, Limits())
    for event in events:
        changes = Changes()
        tree = host.agent(event.agent_id, event.time_ns, 0, changes)
        assert tree is not None
        tree.handlers[event.WhichOneof("kind") or ""](event, 0, changes)
    return host


def picture(host: HostTree) -> dict[str, Any]:
    """All that a reader could see."""
    tree = host.agents[AGENT]
    agent = tree.agent
    out: dict[str, Any] = {
        "agent": [getattr(agent, name) for name in ("name", "state", "processes", "processes_total", "flows", "root")],
        "ended": (agent.ended_ns, agent.started_wall_ns if agent.enrolled else 0),
    }
    for k, p in tree.processes.by_key.items():
        out[f"process {k}"] = (
            (p.parent, p.maker, p.image, p.execs, p.images, p.ended_ns, p.exited, p.status, p.cgroup_id),
            [a.key for a in tree.ancestors(k)],
            [d.key for d in tree.descendants(k)],
            [f.cookie for f in tree.flows_of(k)],
        )  # fmt: skip
    for cookie, f in tree.flows.by_cookie.items():
        out[f"flow {cookie}"] = (
            f.process, f.state, f.state_ns, f.destination_port, f.bytes_sent, f.opened_ns, f.last_ns, f.closed_ns,
        )  # fmt: skip
    return out


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60), finish=st.booleans())
def test_any_interleaving_gives_the_same_tree(seed: int, steps: int, finish: bool) -> None:
    choose = random.Random(seed)
    world = World(choose)
    world.begin()
    for _ in range(steps):
        world.step()
    if finish:
        world.add(world.kernel.finish("exited"))
    expected = picture(run(world.events))
    assert picture(run(interleave(world.events, choose))) == expected


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_the_tree_is_what_the_host_really_had(seed: int, steps: int) -> None:
    choose = random.Random(seed)
    world = World(choose)
    world.begin()
    for _ in range(steps):
        world.step()
    tree = run(interleave(world.events, choose)).agents[AGENT]
    living = {k for k, p in tree.processes.by_key.items() if p.alive}
    assert living == set(world.living)
    assert tree.agent.processes == len(living)
    assert tree.agent.processes_total == 1 + sum(e.HasField("fork") for e in world.events)
    below_root = {d.key for d in tree.descendants(key(100))}
    assert below_root == set(tree.processes.by_key) - {key(100)}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60), lose=st.integers(1, 5))
def test_lost_records_leave_placeholders_not_holes(seed: int, steps: int, lose: int) -> None:
    choose = random.Random(seed)
    world = World(choose)
    world.begin()
    for _ in range(steps):
        world.step()
    events = [e for e in world.events if e.record.cpu == SENSOR]
    rest = [e for e in world.events if e.record.cpu != SENSOR]
    for _ in range(min(lose, len(rest))):
        rest.remove(choose.choice(rest))
    tree = run([*events, *interleave(rest, choose)]).agents[AGENT]
    speaking = {
        ProcessKey(e.process.pid, e.process.start_time_ns)
        for e in rest
        if e.WhichOneof("kind") in ("fork", "exec", "exit", "socket", "connect")
    }
    assert speaking <= set(tree.processes.by_key)
    for k in tree.processes.by_key:
        assert k not in [a.key for a in tree.ancestors(k)]
