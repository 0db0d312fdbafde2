"""Opening: what an earlier sensor left in force is adopted, nothing is attached twice, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import bpf, host, objects
from sensor.kernel.errors import NothingLoads
from sensor.kernel.loader import Kernel
from sensor.kernel.programs import SHARED_MAPS
from sensor.kernel.settings import KernelSettings
from tests.sensor.kernel.elsewhere import OPEN, ROOT

pytestmark = pytest.mark.root

AGENT = 0xA10AD
_WAIT = "import sys\nprint('ready', flush=True)\nsys.stdin.read()\n"


def start(instance: Instance, code: str = OPEN + _WAIT) -> subprocess.Popen[str]:
    """A sensor's kernel side in a process of its own, once it is open and has run what follows."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    assert [child.stdout.readline(), child.stdout.readline()] == ["open\n", "ready\n"]
    return child


def stop(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def in_force(instance: Instance) -> dict[str, int]:
    """Pinned links: name and program."""
    found: dict[str, int] = {}
    for path in _pins(instance, "links").iterdir():
        fd = bpf.pinned(str(path))
        found[path.name] = bpf.link_info(fd).program
        os.close(fd)
    return found


def _pins(instance: Instance, what: str) -> Path:
    folder = host.bpffs()
    assert folder
    return folder / instance.name / what


def _map_ids(instance: Instance) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in _pins(instance, "maps").iterdir():
        fd = bpf.pinned(str(path))
        found[path.name] = bpf.map_info(fd).id
        os.close(fd)
    return found


def _gone(program: int) -> bool:
    try:
        os.close(bpf.program_by_id(program))
    except FileNotFoundError:
        return True
    return False


def test_a_first_sensor_adopts_nothing(instance: Instance) -> None:
    kernel = Kernel.open(instance, KernelSettings())
    assert not kernel.adopted
    assert kernel.epoch
    assert all(fact.state != "missing" or fact.missing for fact in kernel.coverage)
    assert set(_map_ids(instance)) == set(SHARED_MAPS)
    kernel.close()


def test_pins_of_a_dead_process_are_adopted(instance: Instance) -> None:
    """Links, maps, tags, records and the epoch are those of the sensor that was killed; none is attached twice."""
    stop(
        start(
            instance,
            OPEN + f"kernel.agents.put({AGENT}, 1, 0)\nkernel.tags.add({os.getpid()}, {AGENT}, 7, 0)\n" + _WAIT,
        )
    )
    links, maps = in_force(instance), _map_ids(instance)
    os.waitpid(os.spawnvp(os.P_NOWAIT, "true", ["true"]), 0)  # tagged: its fork is recorded while no sensor lives
    kernel = Kernel.open(instance, KernelSettings())
    assert kernel.adopted
    assert in_force(instance) == links
    assert _map_ids(instance) == maps
    tag = kernel.tags.get(os.getpid())
    assert tag
    assert (tag.agent, tag.start_time) == (AGENT, 7)
    kinds = [int.from_bytes(record[:2], "little") for record in kernel.ring.read()]
    assert kinds == [1, 2, 3], "fork, exec, exit: each once"
    epoch = kernel.epoch
    kernel.close()
    again = Kernel.open(instance, KernelSettings())
    assert again.epoch == epoch
    again.close()


def test_records_that_were_not_committed_come_again(instance: Instance) -> None:
    first = Kernel.open(instance, KernelSettings())
    first.agents.put(AGENT, 1, 0)
    first.tags.add(os.getpid(), AGENT, 7, 0)
    subprocess.run(["true"], check=True)
    before = first.ring.read()
    assert len(before) >= 2
    first.close()
    second = Kernel.open(instance, KernelSettings())
    second.tags.delete(os.getpid())
    assert second.ring.read() == before
    second.close()


def test_a_second_loader_attaches_nothing_twice(instance: Instance) -> None:
    """The sensor's own lock refuses a second one; below it, whoever opens shares what is in force."""
    first = Kernel.open(instance, KernelSettings())
    links = in_force(instance)
    second = start(instance)
    assert in_force(instance) == links
    stop(second)
    assert in_force(instance) == links
    first.close()
    assert in_force(instance) == links
    assert not any(_gone(program) for program in links.values())


def test_loaders_that_start_at_once_make_one_set(instance: Instance) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN + "print(kernel.adopted)\n"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = sorted(child.communicate(timeout=60)[0] for child in children)
    assert outputs == ["open\nFalse\n"] + ["open\nTrue\n"] * 3
    assert not [name for name in in_force(instance) if name.endswith("-new")]


def test_another_build_takes_its_place(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs with other instructions, as after an upgrade: attached anew under the same names, on the same maps."""
    Kernel.open(instance, KernelSettings()).close()
    links, maps = in_force(instance), _map_ids(instance)
    with monkeypatch.context() as patched:
        patched.setattr(host, "has_atomic_fetch", lambda: False)
        newer = Kernel.open(instance, KernelSettings())
    replaced = in_force(instance)
    assert set(replaced) == set(links)
    assert replaced["process_fork"] != links["process_fork"]
    assert _map_ids(instance) == maps
    deadline = time.monotonic() + 10
    while not _gone(links["process_fork"]):
        assert time.monotonic() < deadline, "the old program is still attached"
        time.sleep(0.01)
    newer.close()


def test_maps_keep_their_sizes_whatever_the_settings_say(instance: Instance) -> None:
    Kernel.open(instance, KernelSettings(ring_bytes=1 << 16)).close()
    kernel = Kernel.open(instance, KernelSettings(ring_bytes=1 << 20))
    assert bpf.map_info(kernel.ring.fd).max_entries == 1 << 16
    kernel.close()


def test_links_that_nobody_knows_any_more_are_dropped(instance: Instance) -> None:
    """A hook of an older version, and the per-packet programs of an agent's cgroup that is gone."""
    cgroup = host.cgroup_root() / instance.cgroup
    cgroup.mkdir()
    kernel = Kernel.open(instance, KernelSettings())
    known = set(in_force(instance))
    kernel.watch_cgroup(cgroup, AGENT)
    fd = bpf.pinned(str(_pins(instance, "links") / "process_exit"))
    bpf.pin(fd, str(_pins(instance, "links") / "older_hook"))
    os.close(fd)
    kernel.close()
    assert len(in_force(instance)) == len(known) + 3
    kernel = Kernel.open(instance, KernelSettings())
    assert len(in_force(instance)) == len(known) + 2, "the cgroup is there"
    kernel.close()
    cgroup.rmdir()
    deadline = time.monotonic() + 10
    while set(in_force(instance)) != known:
        assert time.monotonic() < deadline, "the kernel lets go of a removed cgroup's links a little later"
        Kernel.open(instance, KernelSettings()).close()


def test_unload_leaves_nothing(instance: Instance) -> None:
    kernel = Kernel.open(instance, KernelSettings())
    kernel.condemning(True)
    kernel.follow_leavers(True)
    programs = in_force(instance).values()
    kernel.close()
    Kernel.unload(instance)
    folder = host.bpffs()  # none where this was the last that needed it
    assert folder is None or not (folder / instance.name).exists()
    deadline = time.monotonic() + 10
    while not all(_gone(program) for program in programs):
        assert time.monotonic() < deadline, "programs are still loaded"
        time.sleep(0.01)
    Kernel.unload(instance)


def test_opening_and_closing_loses_no_descriptor(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel.open(instance, KernelSettings()).close()
    before = len(os.listdir("/proc/self/fd"))
    Kernel.open(instance, KernelSettings()).close()
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(Kernel, "_attach", lambda self: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        Kernel.open(instance, KernelSettings())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def other_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the objects, to be spoilt."""
    for path in objects.FOLDER.glob("*.o"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(objects, "FOLDER", tmp_path)
    return tmp_path


def test_an_object_that_is_refused_costs_its_facts_only(instance: Instance, other_objects: Path) -> None:
    (other_objects / "bind.bpf.o").write_bytes(b"no object")
    kernel = Kernel.open(instance, KernelSettings())
    facts = {fact.fact: fact for fact in kernel.coverage}
    assert facts["bind"].state == "missing"
    assert "refuses" in facts["bind"].missing
    assert facts["connect"].state == facts["exec"].state == "full"
    assert "bind4" not in in_force(instance)
    kernel.close()


def test_a_fallback_takes_over_where_an_object_is_refused(instance: Instance, other_objects: Path) -> None:
    (other_objects / "state.bpf.o").write_bytes(b"no object")
    kernel = Kernel.open(instance, KernelSettings())
    found = in_force(instance)
    assert "establish" in found
    assert "state" not in found
    facts = sorted((fact.fact, fact.state) for fact in kernel.coverage if fact.fact in ("listen", "close", "establish"))
    assert facts == [("close", "missing"), ("establish", "full"), ("listen", "missing")]
    kernel.close()


@pytest.mark.parametrize("name", ["control", "tasks"])
def test_an_object_that_nothing_works_without_is_an_error(instance: Instance, other_objects: Path, name: str) -> None:
    (other_objects / f"{name}.bpf.o").write_bytes(b"no object")
    with pytest.raises(NothingLoads, match=f"{name}.bpf.o"):
        Kernel.open(instance, KernelSettings())
    assert not in_force(instance)
