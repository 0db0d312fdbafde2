"""tp_btf/sched_process_fork: a child has its maker's tag before its first instruction, whatever it does to its ancestry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag, TagFlag
from tests.kernel.watched import AGENT, OTHER, Watched, until

pytestmark = pytest.mark.root

Compiled = Callable[[str], str]


def _pids(output: str) -> list[int]:
    return [int(line) for line in output.split()]


def test_fork_names_child_parent_and_cgroup(watched: Watched) -> None:
    pid, output = watched.python("import os\nchild = os.fork()\nif child: os.wait(); print(child)")
    child = int(output)
    event = watched.one("fork", lambda event: event.fork.child.pid == child)
    assert event.process.pid == event.fork.parent.pid == pid
    assert event.process.start_time_ns == event.fork.parent.start_time_ns
    assert event.fork.child.start_time_ns > event.process.start_time_ns
    assert event.fork.namespace_pid == child
    assert event.fork.cgroup_id == watched.cgroup.stat().st_ino
    assert watched.ended(child).process.start_time_ns == event.fork.child.start_time_ns
    watched.empty()


def test_fork_of_a_thread_is_no_process(watched: Watched) -> None:
    watched.python("import threading\nfor _ in range(5):\n t = threading.Thread(target=print); t.start(); t.join()")
    watched.empty()
    assert not watched.of("fork")


def test_fork_by_a_thread_that_is_not_the_leader(watched: Watched) -> None:
    code = (
        "import os, threading\n"
        "def work():\n child = os.fork()\n if not child: os._exit(0)\n os.waitpid(child, 0); print(child)\n"
        "t = threading.Thread(target=work); t.start(); t.join()"
    )
    pid, output = watched.python(code)
    assert watched.one("fork").fork.child.pid == int(output)
    assert watched.one("fork").process.pid == pid


def test_setsid_double_fork(watched: Watched) -> None:
    code = (
        "import os, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "time.sleep(0.05); print(os.getpid(), flush=True); os.execvp('true', ['true'])"
    )
    pid, output = watched.python(code)
    grandchild = int(output)
    assert watched.exec_of("true").process.pid == grandchild
    first, second = watched.of("fork")
    assert first.process.pid == pid
    assert second.process.pid == first.fork.child.pid
    assert second.fork.child.pid == grandchild
    watched.empty()


def test_clone_parent(watched: Watched, compiled: Compiled) -> None:
    pid, output = watched.run(compiled("clone"), "parent")
    child = int(output)
    event = watched.one("fork", lambda event: event.fork.child.pid == child)
    assert event.process.pid == pid
    assert event.fork.parent.pid == os.getpid(), "CLONE_PARENT: a sibling of its maker"
    assert watched.exec_of("true").process.pid == child
    until(lambda: child not in watched.tagged(), "the child's end")


def test_vfork_exec(watched: Watched, compiled: Compiled) -> None:
    pid, output = watched.run(compiled("clone"), "vfork")
    event = watched.one("fork")
    assert event.process.pid == pid
    assert event.fork.child.pid == watched.exec_of("true").process.pid == int(output)
    watched.empty()


@pytest.mark.parametrize("flag", ["user", "pid", "net", "mnt"])
def test_namespaces(watched: Watched, flag: str) -> None:
    option = {"user": "--user", "pid": "--pid", "net": "--net", "mnt": "--mount"}[flag]
    own = os.stat(f"/proc/self/ns/{flag}").st_ino
    watched.run("unshare", option, "--fork", "true")
    event = watched.exec_of("true")
    namespaces = event.exec.namespaces
    found = {"user": namespaces.user, "pid": namespaces.pid, "net": namespaces.net, "mnt": namespaces.mnt}
    assert found.pop(flag) != own
    assert all(inode == os.stat(f"/proc/self/ns/{name}").st_ino for name, inode in found.items())
    if flag == "pid":
        born = watched.one("fork", lambda each: each.fork.child.pid == event.process.pid)
        assert born.fork.namespace_pid == 1
    watched.empty()


def test_clone_into_cgroup_of_an_untagged_process(watched: Watched, compiled: Compiled) -> None:
    child = int(subprocess.check_output([compiled("clone"), "into", str(watched.cgroup)], text=True))
    event = watched.one("join")
    assert event.join.target.pid == child
    assert event.join.reason == 1
    assert watched.exec_of("true").process.pid == child
    watched.empty()


def test_clone_into_cgroup_below_an_enrolled_one(watched: Watched, compiled: Compiled) -> None:
    below = watched.cgroup / "a" / "b"
    below.mkdir(parents=True)
    child = int(subprocess.check_output([compiled("clone"), "into", str(below)], text=True))
    assert watched.one("join").join.target.pid == child
    assert watched.exec_of("true").exec.cgroup_id == below.stat().st_ino


def test_clone_into_cgroup_to_leave(watched: Watched, compiled: Compiled) -> None:
    watched.run(compiled("clone"), "into", str(watched.root))
    event = watched.one("join")
    assert event.join.reason == 2
    assert event.join.target.pid == watched.one("fork").fork.child.pid
    assert watched.flags() & AgentFlag.LEAVERS
    assert watched.exec_of("true"), "it stays watched"


def test_pid_reuse_with_set_tid(watched: Watched, compiled: Compiled) -> None:
    """In a pid namespace of its own a child gets the pid of one that has ended: two processes, told apart by start time."""
    watched.run("unshare", "--pid", "--fork", "--mount-proc", compiled("clone"), "reuse")
    born = [event for event in watched.of("fork") if event.fork.namespace_pid == 77]
    assert len(born) == 2
    assert born[0].fork.child.start_time_ns < born[1].fork.child.start_time_ns
    ends = [(event.process.pid, event.process.start_time_ns) for event in watched.of("exit")]
    for event in born:
        assert (event.fork.child.pid, event.fork.child.start_time_ns) in ends
    watched.empty()


def test_pid_reuse_in_the_initial_namespace(watched: Watched, compiled: Compiled) -> None:
    """The pid of an agent's ended process goes to a stranger, who is nobody's."""
    pid, _ = watched.run("true")
    watched.empty()
    assert int(subprocess.check_output([compiled("clone"), "as", str(pid)], text=True)) == pid
    assert not watched.of("fork")
    assert len(watched.of("exit")) == 1


def test_pid_reuse_of_a_tag_that_was_left_behind(watched: Watched, compiled: Compiled) -> None:
    """The sensor tags a process at the moment of its end, after its exit hook: the next one of that pid is not the agent's."""
    pid, _ = watched.run("true")
    watched.empty()
    assert watched.kernel.tags.add(pid, AGENT, 1, 0)
    assert int(subprocess.check_output([compiled("clone"), "as", str(pid)], text=True)) == pid
    assert len(watched.of("exec")) == 1, "the first process's own"
    watched.empty()


def test_pid_reuse_by_the_agent_of_a_tag_that_was_left_behind(watched: Watched, compiled: Compiled) -> None:
    pid, _ = watched.run("true")
    watched.empty()
    assert watched.kernel.tags.add(pid, OTHER, 1, 0)
    watched.run(compiled("clone"), "as", str(pid))
    assert watched.one("fork").fork.child.pid == pid
    assert {int(event.agent_id, 16) for event in watched.of("exec")} == {AGENT}
    watched.empty()
    assert not watched.tagged(OTHER)


def test_tag_of_an_agents_child_says_nothing_of_its_root(watched: Watched) -> None:
    child = watched.start("sh", "-c", "sleep 30 & wait")
    watched.go(child)
    until(lambda: len(watched.tagged()) == 2, "both processes")
    flags = {pid: tag.flags for pid, tag in watched.kernel.tags.items()}
    assert flags.pop(child.pid) == TagFlag.ROOT
    assert list(flags.values()) == [0]
    assert watched.count() == 2


def test_fork_of_a_condemned_agent_kills_the_maker(watched: Watched) -> None:
    child = watched.start("sh", "-c", "true; true; true")
    watched.kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    watched.go(child)
    assert child.wait(10) == -9


def test_fork_of_a_condemned_agent_bears_no_child(watched: Watched) -> None:
    """Where the kernel can signal another task from a hook (6.13) the child never comes to its first instruction."""
    code = "import os, sys\nsys.stdin.readline()\npid = os.fork()\nos.write(1, b'child' if not pid else b'maker')\n"
    child = watched.start(sys.executable, "-c", code)
    watched.go(child)
    watched.one("exec")
    watched.kernel.agents.set_flags(AGENT, on=AgentFlag.CONDEMNED)
    watched.go(child)
    output = child.communicate(timeout=10)[0]
    able = b"\0bpf_send_signal_task\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()
    assert output == "" if able else output in ("", "child")
    assert child.returncode == -9
    watched.one("fork")
    watched.empty()


def test_records_are_numbered_without_gaps(watched: Watched) -> None:
    watched.run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait")
    watched.empty()
    numbers: dict[int, list[int]] = {}
    for event in watched.read():
        assert event.record.epoch == watched.kernel.epoch
        numbers.setdefault(event.record.cpu, []).append(event.record.sequence)
    for cpu, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), f"CPU {cpu}"
    assert not watched.kernel.losses.read()


def test_fork_hook_costs_nobody_a_record(watched: Watched) -> None:
    subprocess.run(["sh", "-c", "true & wait"], check=True)
    assert not watched.read()
    assert not list(watched.kernel.tags.items())
