"""Real processes, hostile ones too, read from /proc."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2, process_pb2
from sensor.collect import snapshot as module
from sensor.collect.process_facts import ARGV_LIMIT, read_facts
from sensor.collect.snapshot import snapshot
from tests.sensor.collect.records import AGENT, AGENT_ID


@dataclass
class Task:
    pid: int
    start_time: int = 123_456_789
    parent_pid: int = 1
    parent_start_time: int = 5
    agent: int = AGENT
    cgroup_id: int = 77
    comm: str = "from-kernel"


class Kernel:
    """Answers for the task iterator; `change` may alter the answer between the two questions."""

    def __init__(self, change: Callable[[Task], Task | None] = lambda task: task) -> None:
        self.change = change
        self.asked: dict[int, int] = {}

    def task(self, pid: int) -> Task | None:
        self.asked[pid] = self.asked.get(pid, 0) + 1
        if not Path(f"/proc/{pid}").exists():
            return None
        return Task(pid) if self.asked[pid] == 1 else self.change(Task(pid))


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def started(code: str, *arguments: str | bytes, executable: str = sys.executable) -> subprocess.Popen[bytes]:
            command = [executable, "-c", f"{code}\nprint('ready', flush=True)\nimport time; time.sleep(60)", *arguments]
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/usr")
            stack.callback(child.wait)
            stack.callback(child.kill)
            assert child.stdout
            stack.callback(child.stdout.close)
            assert child.stdout.readline() == b"ready\n"
            return child

        yield started


def test_a_process_is_told_with_the_kernels_identity_and_procs_facts(start: Start) -> None:
    child = start("pass", "an argument", b"\xff\xfe")
    (event,) = snapshot(Kernel(), [child.pid])
    assert (event.agent_id, event.process.pid, event.process.start_time_ns) == (AGENT_ID, child.pid, 123_456_789)
    told = event.process_snapshot
    assert told.parent == process_pb2.ProcessKey(pid=1, start_time_ns=5)
    facts = told.exec
    assert list(facts.argv[3:]) == [b"an argument", b"\xff\xfe"]
    assert facts.exe == os.readlink(f"/proc/{child.pid}/exe")
    assert (facts.cwd, facts.cgroup_id, facts.argv_truncated) == ("/usr", 77, False)
    assert facts.inode == os.stat(facts.exe).st_ino
    assert facts.credentials.uid == os.getuid()
    assert facts.namespaces.net == os.stat(f"/proc/{child.pid}/ns/net").st_ino
    assert [d.kind for d in facts.stdio][:2] == [
        process_pb2.DESCRIPTOR_KIND_DEVICE,
        process_pb2.DESCRIPTOR_KIND_PIPE,
    ]
    assert event_pb2.Event.FromString(event.SerializeToString()) == event


def test_sockets_files_and_closed_descriptors_are_told_apart(start: Start, tmp_path: Path) -> None:
    code = "import os, socket, sys; file = open(sys.argv[1], 'w'); os.dup2(file.fileno(), 0)"
    child = start(code + "; s = socket.socket(); os.dup2(s.fileno(), 2)", str(tmp_path / "file"))
    assert [d.kind for d in read_facts(child.pid).stdio] == [
        process_pb2.DESCRIPTOR_KIND_FILE,
        process_pb2.DESCRIPTOR_KIND_PIPE,
        process_pb2.DESCRIPTOR_KIND_SOCKET,
    ]
    closed = start("import os; os.close(0)")
    assert read_facts(closed.pid).stdio[0].kind == process_pb2.DESCRIPTOR_KIND_CLOSED


def test_long_arguments_are_cut_and_say_so(start: Start) -> None:
    facts = read_facts(start("pass", "y" * 100_000).pid)
    assert facts.argv_truncated
    assert sum(len(argument) + 1 for argument in facts.argv) <= ARGV_LIMIT + 1


def test_a_deleted_program_keeps_its_name(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "odd (deleted)"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    child = subprocess.Popen([program, "60"])
    try:
        deadline = time.monotonic() + 5
        while os.readlink(f"/proc/{child.pid}/exe") != str(program) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (read_facts(child.pid).exe, read_facts(child.pid).deleted) == (str(program), False)
        program.unlink()
        assert (read_facts(child.pid).exe, read_facts(child.pid).deleted) == (str(program), True)
    finally:
        child.kill()
        child.wait()


def test_a_name_cannot_forge_status_lines(start: Start) -> None:
    code = "open('/proc/self/comm', 'wb').write(b'x\\nUid:\\t9 9')"
    facts = read_facts(start(code).pid)
    assert facts.credentials.uid == os.getuid()
    assert facts.comm == "x\\nUid:\t9 9"


def test_who_is_gone_or_was_replaced_is_left_out(start: Start) -> None:
    child = start("pass")
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert list(snapshot(Kernel(), [gone.pid, 2**22 + 1])) == []

    def reused(task: Task) -> Task:
        task.start_time += 1
        return task

    assert list(snapshot(Kernel(reused), [child.pid])) == []
    assert list(snapshot(Kernel(lambda task: None), [child.pid])) == []


def test_a_zombie_is_told_with_what_is_left(start: Start) -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (event,) = snapshot(Kernel(), [child.pid])
    assert event.process_snapshot.exec.comm == "true"
    assert not event.process_snapshot.exec.argv
    child.wait()


def test_a_process_that_blocks_reads_costs_a_second_and_only_its_own_facts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.1)
    child, release = start("pass"), threading.Event()

    def hanging(pid: int) -> event_pb2.Exec:
        release.wait(30)
        return event_pb2.Exec()

    began = time.monotonic()
    events = list(snapshot(Kernel(), [child.pid] * (module.STUCK_LIMIT + 2), read=hanging))
    assert time.monotonic() - began < 3
    assert [e.process_snapshot.exec.comm for e in events] == ["from-kernel"] * len(events)
    assert len(events) == 10
    release.set()
    deadline = time.monotonic() + 5
    while (
        threads := [t for t in threading.enumerate() if t.name.startswith("snapshot-")]
    ) and time.monotonic() < deadline:
        threads[0].join(0.1)
    (event,) = snapshot(Kernel(), [child.pid])
    assert event.process_snapshot.exec.exe


def test_a_defect_in_reading_one_does_not_hide_the_others(start: Start) -> None:
    first, second = start("pass"), start("pass")

    def failing(pid: int) -> event_pb2.Exec:
        if pid == first.pid:
            raise RuntimeError("defect")
        return read_facts(pid)

    events = list(snapshot(Kernel(), [first.pid, second.pid], read=failing))
    assert [bool(e.process_snapshot.exec.exe) for e in events] == [False, True]


@pytest.mark.root
def test_a_real_socket_inode_is_the_one_that_proc_names() -> None:
    left, right = socket.socketpair()
    with left, right:
        child = subprocess.Popen(["sleep", "60"], stdin=right.fileno())
        try:
            found = read_facts(child.pid).stdio[0]
            assert (found.kind, found.inode) == (process_pb2.DESCRIPTOR_KIND_SOCKET, os.fstat(right.fileno()).st_ino)
        finally:
            child.kill()
            child.wait()
