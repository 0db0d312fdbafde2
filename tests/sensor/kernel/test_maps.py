"""The maps that sensor and hooks share, as the sensor changes them."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import abi, bpf, host
from sensor.kernel.enums import AgentFlag
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings

pytestmark = pytest.mark.root

AGENT, OTHER = 0xA6, 0xB6
PID = 1 << 24  # no process can have it


@pytest.fixture
def kernel(instance: Instance) -> Iterator[Kernel]:
    opened = Kernel.open(instance, KernelSettings())
    yield opened
    opened.close()


@pytest.fixture
def plain(kernel: Kernel) -> bpf.Map:
    """A hash that no hook touches meanwhile: numbers to numbers."""
    return kernel._maps["cgroups"]


def _number(value: int) -> bytes:
    return struct.pack("<Q", value)


def test_a_map_sets_and_removes(plain: bpf.Map) -> None:
    assert plain.lookup(_number(1)) is None
    assert not plain.update(_number(1), _number(2), bpf.EXIST)
    assert plain.update(_number(1), _number(2), bpf.NOEXIST)
    assert not plain.update(_number(1), _number(3), bpf.NOEXIST)
    assert plain.items() == [(_number(1), _number(2))]
    assert plain.pop(_number(1)) == _number(2)
    assert plain.pop(_number(1)) is None
    assert not plain.delete(_number(1))
    assert plain.keys() == []


def test_a_full_map_says_so(plain: bpf.Map) -> None:
    for number in range(plain.max_entries):
        assert plain.update(_number(number), _number(0))
    with pytest.raises(OSError, match="too long"):  # E2BIG
        plain.update(_number(1 << 40), _number(0))
    assert len(plain.keys()) == plain.max_entries


def test_keys_end_and_are_each_once_while_others_come_and_go(plain: bpf.Map) -> None:
    """A hash begins anew when the cursor's key was deleted."""
    steady = {_number(number) for number in range(0, 2000, 2)}
    for key in steady:
        plain.update(key, _number(0))
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            for number in range(1, 400, 2):
                plain.update(_number(number), _number(0))
            for number in range(1, 400, 2):
                plain.delete(_number(number))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            keys = plain.keys()
            assert len(set(keys)) == len(keys)
            assert steady <= set(keys)
    finally:
        done.set()
        thread.join()


def test_tags_count_for_their_agent(kernel: Kernel) -> None:
    kernel.agents.put(AGENT, 1, 0)
    for number in range(3):
        assert kernel.tags.add(PID + number, AGENT, 5, 1)
    assert kernel.tags.add(PID, AGENT, 5, 2), "the same once more"
    assert not kernel.tags.add(PID, AGENT, 6, 0), "another process of that pid"
    assert not kernel.tags.add(PID, OTHER, 5, 0), "the first owner stays"
    state, tag = kernel.agents.get(AGENT), kernel.tags.get(PID)
    assert state
    assert tag
    assert state.tasks == 3
    assert tag.flags == 3
    assert {pid for pid, _ in kernel.tags.items()} == {PID, PID + 1, PID + 2}
    assert kernel.tags.delete(PID)
    assert not kernel.tags.delete(PID)
    state = kernel.agents.get(AGENT)
    assert state
    assert state.tasks == 2


def test_agents_keep_their_count_and_flags_are_set_apart(kernel: Kernel) -> None:
    assert kernel.agents.get(AGENT) is None
    assert not kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    assert kernel.agents.put(AGENT, 7, AgentFlag.OWN_CGROUP)
    kernel.tags.add(PID, AGENT, 5, 0)
    assert kernel.agents.put(AGENT, 8, AgentFlag.LEAVERS)
    assert kernel.agents.set_flags(AGENT, on=AgentFlag.STRANGER, off=AgentFlag.LEAVERS)
    state = kernel.agents.get(AGENT)
    assert state
    assert (state.cgroup_id, state.flags, state.tasks) == (8, AgentFlag.STRANGER, 1)
    assert [agent for agent, _ in kernel.agents.items()] == [AGENT]
    assert kernel.agents.delete(AGENT)
    assert not kernel.agents.delete(AGENT)


def test_agents_that_find_no_place_are_refused(kernel: Kernel) -> None:
    capacity = kernel._maps["agents"].max_entries
    for number in range(capacity):
        assert kernel.agents.put(number + 1, 0, 0)
    assert not kernel.agents.put(1 << 40, 0, 0)
    assert kernel.agents.put(1, 5, 0), "one that is there is changed all the same"


def test_losses_of_a_fresh_instance_are_none(kernel: Kernel) -> None:
    assert kernel.losses.read() == {}
    reserved = [abi.ACCOUNT.unpack(key) for key in list(kernel._maps["losses"].keys())]
    assert {agent for agent, _, _ in reserved} == {0}, "nobody's, for when the map is full"


def test_missed_runs_of_a_fresh_instance_are_none(kernel: Kernel) -> None:
    assert kernel.missed() == {}


def test_switches_may_be_turned_twice(kernel: Kernel, instance: Instance) -> None:
    cgroup = host.cgroup_root() / instance.cgroup
    cgroup.mkdir()

    def names() -> set[str]:
        return set(kernel._pins.link_names())

    before = names()
    for on in (True, True, False, False):
        kernel.follow_leavers(on)
        kernel.condemning(on)
        assert (names() > before) == on
    assert names() == before
    kernel.watch_cgroup(cgroup, AGENT)
    kernel.watch_cgroup(cgroup, AGENT)
    assert len(names()) == len(before) + 2
    kernel.unwatch_cgroup(AGENT)
    kernel.unwatch_cgroup(AGENT)
    assert names() == before
    with pytest.raises(FileNotFoundError):
        kernel.watch_cgroup(Path(f"{cgroup}-gone"), AGENT)
    assert names() == before
