"""What the kernel refuses to change, and what is put right when somebody with the rights has changed it."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import bpf, host
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from sensor.kernel.upkeep import SEALED, WATCHES, Found
from tests.links import every_link, pinned_links

pytestmark = pytest.mark.root
AGENT = 0xA6
PID = 1 << 24  # no process can have it
LINK_UPDATE, LINK_DETACH = 29, 34
RETURN_ONE = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
"""r0 = 1; exit"""
CGROUP_SKB, RAW_TRACEPOINT = 8, 17


@pytest.fixture
def kernel(instance: Instance) -> Iterator[Kernel]:
    opened = Kernel.open(instance, KernelSettings())
    assert opened.upkeep.look() == []
    yield opened
    opened.close()


@pytest.fixture
def pins(kernel: Kernel, instance: Instance) -> Path:
    found = host.bpffs()
    assert found
    return found / instance.name


def touching(map_fd: int) -> bytes:
    """r1 = map; r0 = 0; exit: a program that uses a map."""
    load = struct.pack("<BBhi", 0x18, 0x11, 0, map_fd) + struct.pack("<BBhi", 0, 0, 0, 0)
    return load + struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def test_a_sealed_map_is_changed_by_programs_only(kernel: Kernel) -> None:
    assert kernel.upkeep.seal() == {}
    assert kernel.upkeep.seal() == {}, "once more"
    for name in SEALED:
        each = kernel._maps[name]
        key, value = bytes(each.key_size), bytes(each.value_size)
        with pytest.raises(PermissionError):
            each.update(key, value)
        with pytest.raises(PermissionError):
            each.delete(key)
    assert kernel.agents.put(AGENT, 1, 0)
    assert kernel.tags.add(PID, AGENT, 5, 0)
    assert kernel.cgroups.add(7, AGENT)
    assert not kernel.cgroups.add(7, AGENT + 1), "the first owner stays"
    assert list(kernel.cgroups.items()) == [(7, AGENT)]
    assert kernel.tags.delete(PID)
    assert kernel.cgroups.delete(7)
    assert not kernel.cgroups.delete(7)
    assert kernel.agents.delete(AGENT)
    assert not kernel.agents.delete(AGENT)


def test_bpftool_cannot_change_a_sealed_map(kernel: Kernel, pins: Path) -> None:
    kernel.upkeep.seal()
    kernel.agents.put(AGENT, 1, 0)
    kernel.tags.add(PID, AGENT, 5, 0)
    key = [str(byte) for byte in struct.pack("<I", PID)]
    command = ["bpftool", "map", "delete", "pinned", str(pins / "maps/tags"), "key", *key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Operation not permitted" in done.stderr
    assert kernel.tags.get(PID)


def test_a_sealed_map_stays_so_for_the_next_sensor(kernel: Kernel, instance: Instance) -> None:
    kernel.upkeep.seal()
    newer = Kernel.open(instance, KernelSettings())
    try:
        with pytest.raises(PermissionError):
            newer._maps["tags"].delete(bytes(4))
        assert newer.agents.put(AGENT, 1, 0)
        assert newer.upkeep.seal() == {}
    finally:
        newer.close()


def test_an_agents_process_cannot_use_the_sensors_own_way(kernel: Kernel) -> None:
    """BPF_PROG_TEST_RUN of control.bpf.c, with a descriptor of it."""
    kernel.agents.put(AGENT, 1, 0)
    child = os.fork()
    if child == 0:
        os.read(0, 0)
        task = kernel.task(os.getpid())
        tagged = bool(task and kernel.tags.add(os.getpid(), AGENT, task.start_time, 0))
        refused = not kernel.tags.delete(os.getpid()) and not kernel.agents.set_flags(AGENT, off=1)
        os._exit(0 if tagged and refused else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("name", ["connect4", "bind6", "send4"])
def test_a_detached_hook_is_attached_again(kernel: Kernel, pins: Path, name: str) -> None:
    fd = bpf.pinned(str(pins / "links" / name))
    try:
        bpf.call(LINK_DETACH, struct.pack("<I", fd))
        assert bpf.link_info(fd).detached
    finally:
        os.close(fd)
    assert kernel.upkeep.look() == [Found("link-detached", name, restored=True)]
    fd = bpf.pinned(str(pins / "links" / name))
    assert not bpf.link_info(fd).detached
    os.close(fd)
    assert kernel.upkeep.look() == []


def test_a_hook_on_a_tracepoint_cannot_be_detached_nor_unpinned_for_good(kernel: Kernel, pins: Path) -> None:
    path = pins / "links/process_fork"
    fd = bpf.pinned(str(path))
    before = bpf.link_info(fd)
    with pytest.raises(OSError, match="not supported"):
        bpf.call(LINK_DETACH, struct.pack("<I", fd))
    os.close(fd)
    path.unlink()
    assert kernel.upkeep.look() == [Found("pin-removed", "process_fork", restored=True)]
    fd = bpf.pinned(str(path))
    assert bpf.link_info(fd) == before, "it is the same link: it was in force all the time"
    os.close(fd)


def test_another_program_in_a_links_place_is_replaced(kernel: Kernel, pins: Path) -> None:
    program = bpf.load_raw(CGROUP_SKB, RETURN_ONE)

    try:
        kernel.follow_leavers(True)
        assert kernel.upkeep.look() == []
        fd = bpf.pinned(str(pins / "links/leaver_ingress"))
        bpf.call(LINK_UPDATE, struct.pack("<IIII", fd, program, 0, 0))
        os.close(fd)
        assert kernel.upkeep.look() == [Found("link-replaced", "leaver_ingress", restored=True)]
        fd = bpf.pinned(str(pins / "links/leaver_ingress"))
        assert bpf.link_info(fd).program != bpf.program_info(program).id
        os.close(fd)
        assert kernel.upkeep.look() == []
    finally:
        kernel.follow_leavers(False)
        os.close(program)


def test_what_the_sensor_takes_off_and_puts_on_again_between_two_looks_is_nobodys_work(
    kernel: Kernel, instance: Instance
) -> None:
    for _ in range(3):
        kernel.isolating(True)
        kernel.follow_leavers(True)
        assert kernel.upkeep.look() == []
        on = pinned_links(instance)
        kernel.isolating(False)
        kernel.follow_leavers(False)
        gone = on - pinned_links(instance)
        assert len(gone) > 3
        deadline = time.monotonic() + 20  # the kernel frees a link a moment after its end
        while left := gone & every_link():
            assert time.monotonic() < deadline, f"still attached: {left}"
            time.sleep(0.01)


def test_pins_that_are_gone_come_back(kernel: Kernel, pins: Path, instance: Instance) -> None:
    kernel.agents.put(AGENT, 1, 0)
    kernel.tags.add(PID, AGENT, 5, 0)
    for path in (*(pins / "links").iterdir(), *(pins / "maps").iterdir()):
        path.unlink()
    for folder in (pins / "links", pins / "maps", *pins.glob("abi-*"), pins):
        folder.rmdir()
    found = kernel.upkeep.look()
    assert {each.what for each in found} == {"pin-removed"}
    assert all(each.restored for each in found)
    assert kernel.upkeep.look() == []
    newer = Kernel.open(instance, KernelSettings())
    try:
        assert newer.adopted
        assert newer.tags.get(PID), "the same maps"
    finally:
        newer.close()


def test_settings_of_the_hooks_are_written_again(kernel: Kernel) -> None:
    before = kernel.config.read()
    config = kernel._maps["hook_config"]
    config.update(bytes(4), bytes(config.value_size))
    assert kernel.upkeep.look() == [Found("settings-changed", "hook_config", restored=True)]
    assert kernel.config.read() == before


def test_a_program_of_somebody_else_on_our_maps_is_found_once(kernel: Kernel) -> None:
    other = bpf.load_raw(RAW_TRACEPOINT, RETURN_ONE)
    program = bpf.load_raw(RAW_TRACEPOINT, touching(kernel._maps["tags"].fd))
    try:
        assert kernel.upkeep.look() == [Found("foreign-program", str(bpf.program_info(program).id), restored=False)]
        assert kernel.upkeep.look() == []
    finally:
        os.close(program)
        os.close(other)


def test_links_of_agents_own_cgroups_have_their_turn(kernel: Kernel, instance: Instance, pins: Path) -> None:
    home = host.cgroup_root() / instance.cgroup
    home.mkdir()
    agents = range(1, WATCHES)  # two links each
    for number in agents:
        (home / str(number)).mkdir()
        kernel.watch_cgroup(str(home / str(number)), number)
    lost = next(iter((pins / "links").glob(f"watch-{agents[-1]:012x}-*")))
    lost.unlink()
    gone = home / "1"
    gone.rmdir()  # as when an agent has ended: no finding
    found = [each for _ in range(3) for each in kernel.upkeep.look()]
    assert found == [Found("pin-removed", lost.name, restored=True)]
    assert lost.exists()


def test_what_is_ours_is_known_by_id(kernel: Kernel, pins: Path) -> None:
    ours = kernel.upkeep.ours()
    assert ("map", kernel._maps["tags"].id) in ours
    fd = bpf.pinned(str(pins / "links/connect4"))
    info = bpf.link_info(fd)
    os.close(fd)
    assert {("link", info.id), ("prog", info.program)} <= ours
