"""tp_btf/sched_process_exec: who the process is after the exec: credentials, parent, cgroup, descriptors 0, 1 and 2."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2, process_pb2
from tests.kernel.watched import Watched

pytestmark = pytest.mark.root

NOBODY = 65534
_EXEC = "os.execv('/bin/true', ['true'])\n"


def test_exec_after_setuid_has_the_new_credentials(watched: Watched) -> None:
    watched.python(f"import os\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n" + _EXEC)
    found = watched.exec_of("true").exec.credentials
    assert (found.uid, found.euid, found.gid, found.egid) == (NOBODY, NOBODY, NOBODY, NOBODY)
    assert found.capabilities == 0


def test_exec_of_a_setuid_file_has_its_owner_as_effective(watched: Watched, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    shutil.copy("/bin/true", tool)
    os.chown(tool, NOBODY, -1)
    tool.chmod(0o4755)
    watched.run(str(tool))
    found = watched.exec_of("tool").exec.credentials
    assert (found.uid, found.euid) == (0, NOBODY)


def test_exec_has_the_effective_capabilities(watched: Watched) -> None:
    status = Path("/proc/self/status").read_text()
    own = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    watched.run("setpriv", "--bounding-set=-sys_admin,-net_raw", "true")
    assert watched.exec_of("true").exec.credentials.capabilities == own & ~(1 << 21 | 1 << 13)


def test_exec_names_parent_and_cgroup(watched: Watched) -> None:
    watched.run("true")
    found = watched.exec_of("true").exec
    assert (found.parent.pid, found.parent.start_time_ns) == (os.getpid(), watched.start_time(os.getpid()))
    assert found.cgroup_id == watched.cgroup.stat().st_ino


def test_exec_of_a_process_that_nobody_tagged_but_is_in_the_cgroup(watched: Watched) -> None:
    """Tagged while it was being moved; here the tag was lost, and exec gives it back by the place."""
    child = watched.held("true")
    watched.move(child.pid, watched.cgroup)
    watched.kernel.tags.delete(child.pid)
    watched.go(child)
    assert watched.exec_of("true").process.pid == child.pid
    assert [event.join.reason for event in watched.of("join")] == [event_pb2.JOIN_REASON_ENROLLED] * 2


def _stdio(watched: Watched, code: str) -> tuple[list[process_pb2.Descriptor], str]:
    """Descriptors of an exec, after code that has `out` (the test's pipe) and ends with `files`, what 0, 1 and 2 shall be."""
    _, output = watched.python(
        "import os\nout = os.dup(1)\nprint = lambda x: os.write(out, (str(x) + '\\n').encode())\n"
        + code
        + "for i, f in enumerate(files):\n  os.dup2(f, i) if f is not None else os.close(i)\n"
        + _EXEC
    )
    return list(watched.exec_of("true").exec.stdio), output


def test_exec_stdio_file_pipe_device(watched: Watched, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.touch()
    stdio, output = _stdio(
        watched,
        f"f = os.open('{target}', os.O_RDWR)\nr, w = os.pipe()\nprint(os.fstat(w).st_ino)\n"
        "files = [f, w, os.open('/dev/null', os.O_RDWR)]\n",
    )
    kinds = [each.kind for each in stdio]
    assert kinds == [
        process_pb2.DESCRIPTOR_KIND_FILE,
        process_pb2.DESCRIPTOR_KIND_PIPE,
        process_pb2.DESCRIPTOR_KIND_DEVICE,
    ]
    assert stdio[0].inode == target.stat().st_ino
    assert stdio[1].inode == int(output)


def test_exec_stdio_tty_and_closed(watched: Watched) -> None:
    stdio, _ = _stdio(watched, "import pty\nm, s = pty.openpty()\nfiles = [s, None, m]\n")
    assert [each.kind for each in stdio] == [
        process_pb2.DESCRIPTOR_KIND_TTY,
        process_pb2.DESCRIPTOR_KIND_CLOSED,
        process_pb2.DESCRIPTOR_KIND_TTY,
    ]


def test_exec_stdio_socket_has_the_cookie_of_its_flow(watched: Watched) -> None:
    """A shell whose input is a connection: the reverse shell."""
    stdio, output = _stdio(
        watched,
        "import socket\ns = socket.socket(socket.AF_INET6)\na, b = socket.socketpair()\n"
        "print(int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 57, 8), 'little'))\n"
        "print(os.fstat(a.fileno()).st_ino)\nfiles = [s.fileno(), s.fileno(), a.fileno()]\n",
    )
    cookie, inode = map(int, output.split())
    assert {each.kind for each in stdio} == {process_pb2.DESCRIPTOR_KIND_SOCKET}
    assert [each.family for each in stdio] == [10, 10, 1]
    assert stdio[0].cookie == stdio[1].cookie == cookie == watched.one("socket").socket.flow.cookie
    assert stdio[2].inode == inode


def test_exec_stdio_that_closes_on_exec_is_closed(watched: Watched) -> None:
    stdio, _ = _stdio(watched, "files = []\nos.set_inheritable(0, False)\n")
    assert stdio[0].kind == process_pb2.DESCRIPTOR_KIND_CLOSED
    assert stdio[1].kind == process_pb2.DESCRIPTOR_KIND_PIPE
