"""What a look at processes finds: lost tags, who holds what is ours, who could have changed it, who traces a daemon."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2
from rubicon.v1.instance import Instance
from sensor.guard.daemons import SUPERVISED, Daemons
from sensor.guard.holders import held, holders
from sensor.guard.report import REMEMBERED, Report
from sensor.guard.suspects import MIGHTY, Suspects
from sensor.guard.tags import Home, LostTags, exiting
from sensor.kernel import bpf
from sensor.kernel.enums import Guarded
from sensor.kernel.loader import Kernel
from sensor.kernel.tasks import Task
from tests.sensor.guard.agent import AGENT

pytestmark = pytest.mark.root
OTHER = 0xB6
USER_NAMESPACE = os.stat("/proc/self/ns/user").st_ino


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def task_of(kernel: Kernel, pid: int) -> Task:
    task = kernel.task(pid)
    assert task
    return task


def tag(kernel: Kernel, pid: int) -> None:
    assert kernel.tags.add(pid, AGENT, task_of(kernel, pid).start_time, 1)


def homes(root: tuple[int, int] = (0, 0), cgroup_id: int = 0) -> list[Home]:
    return [Home(AGENT, root, cgroup_id)]


def test_a_tag_that_a_living_process_has_lost_comes_back(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    lost = LostTags(kernel.tags)
    assert lost.look(kernel.tasks(), homes()) == []
    tag(kernel, child.pid)
    assert lost.look(kernel.tasks(), homes()) == []
    kernel.tags.delete(child.pid)
    [(task, agent)] = lost.look(kernel.tasks(), homes())
    assert (task.pid, agent) == (child.pid, AGENT)
    assert task_of(kernel, child.pid).flags == 1
    assert lost.look(kernel.tasks(), homes()) == []


def test_who_never_was_seen_with_a_tag_is_known_by_its_place(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    """It took its tag away before the first look."""
    task = task_of(kernel, child.pid)
    for known in (homes(root=(task.pid, task.start_time)), homes(cgroup_id=task.cgroup_id)):
        lost = LostTags(kernel.tags)
        assert lost.look([task], known) == [], "it may be on its way to its first tag"
        [found] = lost.look([task], known)
        assert found == (task, AGENT)
        assert kernel.tags.delete(child.pid)
    other = homes(root=(task.pid, task.start_time + 1), cgroup_id=1 << 40)
    lost = LostTags(kernel.tags)
    assert [lost.look([task], other) for _ in range(3)] == [[], [], []]


def test_who_gets_its_tag_between_two_looks_has_lost_nothing(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    lost = LostTags(kernel.tags)
    task = task_of(kernel, child.pid)
    assert lost.look([task], homes(cgroup_id=task.cgroup_id)) == []
    tag(kernel, child.pid)
    assert lost.look([task], homes(cgroup_id=task.cgroup_id)) == [], "the list is older than the tag"


def test_an_end_and_a_finished_agent_lose_nothing(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    lost = LostTags(kernel.tags)
    with subprocess.Popen(["sleep", "600"]) as ends:
        tag(kernel, child.pid)
        tag(kernel, ends.pid)
        lost.look(kernel.tasks(), homes())
        ends.kill()
    kernel.tags.delete(child.pid)
    assert lost.look(kernel.tasks(), []) == []


def test_a_process_on_its_way_out_is_no_loss(child: subprocess.Popen[bytes]) -> None:
    assert not exiting(child.pid)
    assert not exiting(os.getpid())
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert exiting(zombie.pid)
    zombie.wait()
    assert exiting(zombie.pid)


def test_who_holds_what_is_ours(kernel: Kernel, instance: Instance) -> None:
    kernel.upkeep.look()
    path = f"/sys/fs/bpf/{instance.name}/maps/tags"
    before = held(os.getpid())
    fd = bpf.pinned(path)
    own = bpf.call(0, struct.pack("<5I", 2, 4, 8, 1, 0))[0]
    try:
        number = bpf.map_info(fd).id
        assert ("map", number) in held(os.getpid())
        me = task_of(kernel, os.getpid())
        found = {(kind, identity) for _, kind, identity in holders([me], kernel.upkeep.ours())}
        assert ("map", number) in found
        assert ("map", bpf.map_info(own).id) not in found
        assert {kind for kind, _ in found} == {"map", "prog", "link"}
    finally:
        os.close(fd)
        os.close(own)
    assert held(os.getpid()) == before
    assert held(1 << 30) == set()


def exec_event(agent: int, capabilities: int, namespace: int, pid: int = 5) -> event_pb2.Event:
    event = event_pb2.Event(agent_id=f"{agent:012x}")
    event.process.pid, event.process.start_time_ns = pid, 6
    event.exec.credentials.capabilities, event.exec.namespaces.user = capabilities, namespace
    return event


def test_who_could_is_who_has_had_the_rights_on_the_host(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    suspects = Suspects()
    suspects.saw_exec(exec_event(OTHER, 1 << 21, USER_NAMESPACE + 1))
    suspects.saw_exec(exec_event(OTHER, (1 << 41) - 1 & ~MIGHTY, USER_NAMESPACE))
    assert suspects.look([], [AGENT, OTHER]) == {}
    for capability in (21, 39):
        suspects.saw_exec(exec_event(AGENT, 1 << capability, USER_NAMESPACE, pid=capability))
        assert suspects.look([], [AGENT, OTHER]) == {AGENT: (capability, 6)}
    assert suspects.look([], [OTHER]) == {}
    tag(kernel, child.pid)
    assert suspects.look(kernel.tasks(), [AGENT]) == {AGENT: (child.pid, task_of(kernel, child.pid).start_time)}


def test_who_was_enrolled_without_rights_is_none_of_them(kernel: Kernel) -> None:
    with subprocess.Popen(["sleep", "600"], user=65534) as nobody:
        tag(kernel, nobody.pid)
        assert Suspects().look(kernel.tasks(), [AGENT]) == {}
        nobody.kill()


def test_a_thing_is_told_once_unless_it_is_done_again() -> None:
    told: list[event_pb2.Event] = []
    report = Report(told.append)
    for again in (False, False, True, True):
        report.tamper(AGENT, (1, 2), "ptrace", "traces", again=again)
    assert len(told) == 3
    for number in range(REMEMBERED * 2):
        report.tamper(AGENT, (number + 5, 2), "ptrace", "traces")
    assert len(report._told) <= REMEMBERED


def test_a_tracer_is_seen_whichever_thread_it_traces(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of the supervisor: a child of the test, which traces one of its parent's threads."""
    trace = (
        "import ctypes, sys; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None), flush=True); input()"
    )
    target = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", target], stdout=subprocess.PIPE) as traced:
        assert traced.stdout
        traced.stdout.readline()
        thread = max(int(path.name) for path in Path(f"/proc/{traced.pid}/task").iterdir())
        monkeypatch.setenv(SUPERVISED, str(traced.pid))
        monkeypatch.setattr(os, "getppid", lambda: traced.pid)
        daemons = Daemons(kernel)
        daemons.look()
        assert list(daemons.tracers()) == []
        with subprocess.Popen(
            [sys.executable, "-c", trace, str(thread)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as tracer:
            assert tracer.stdout
            assert tracer.stdout.readline() == "0\n"
            assert list(daemons.tracers()) == [(Guarded.SUPERVISOR, tracer.pid)]
            tracer.kill()
        traced.kill()


def test_the_hook_knows_who_is_guarded(kernel: Kernel, tmp_path: Path) -> None:
    daemons = Daemons(kernel)
    with socket.socket(socket.AF_UNIX) as plane:
        plane.bind(str(tmp_path / "plane.sock"))
        plane.listen()
        daemons.plane_is_at(tmp_path / "plane.sock")
        daemons.look()
    config = kernel.config.read()
    start = task_of(kernel, os.getpid()).start_time
    assert (config.guarded_pid0, config.guarded_start_time0) == (os.getpid(), start)
    assert (config.guarded_pid1, config.guarded_start_time1) == (os.getpid(), start), "who listens there"
    assert config.guarded_pid2 == 0, "nobody supervises"
    daemons.plane_is_at(tmp_path / "nowhere")
    daemons.look()
    assert kernel.config.read().guarded_pid1 == 0


def test_whom_an_agent_has_stopped_goes_on_and_an_operators_stop_stays(
    kernel: Kernel, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> str:
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]

    monkeypatch.setenv(SUPERVISED, str(child.pid))
    monkeypatch.setattr(os, "getppid", lambda: child.pid)
    daemons = Daemons(kernel)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    daemons.look()
    assert state() == "T"
    daemons.saw_signal(event_pb2.Event())
    daemons.look()
    deadline = time.monotonic() + 40
    while state() == "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
