"""tp_btf/sched_process_exec: which file was executed, what was asked for, by which interpreter, and where."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sensor.kernel.enums import Limit
from tests.kernel.watched import Watched

pytestmark = pytest.mark.root

TRUE = os.path.realpath("/bin/true")


def test_exec_names_the_file_as_the_kernel_has_it(watched: Watched, tmp_path: Path) -> None:
    link = tmp_path / "innocent"
    link.symlink_to("/bin/true")
    watched.run(str(link), cwd=str(tmp_path))
    event = watched.exec_of("innocent")
    found = event.exec
    assert (found.exe, found.filename, found.interpreter) == (TRUE, str(link), "")
    assert (found.inode, found.device) == (os.stat(TRUE).st_ino, os.stat(TRUE).st_dev)
    assert found.cwd == str(tmp_path)
    assert found.comm == "innocent"
    assert not any([found.memfd, found.deleted, found.path_truncated])


def test_exec_keeps_a_relative_name(watched: Watched, tmp_path: Path) -> None:
    shutil.copy(TRUE, tmp_path / "tool")
    watched.run("./tool", cwd=str(tmp_path))
    found = watched.exec_of("tool").exec
    assert (found.filename, found.exe) == ("./tool", str(tmp_path / "tool"))


def test_exec_of_a_script_names_script_and_interpreter(watched: Watched, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\ntrue\n")
    script.chmod(0o755)
    watched.run(str(script), "one")
    found = watched.exec_of("script").exec
    assert (found.interpreter, found.exe) == ("/bin/sh", os.path.realpath("/bin/sh"))
    assert list(found.argv) == [b"/bin/sh", b"-e", str(script).encode(), b"one"]


def test_exec_of_a_script_of_a_script_names_the_last_interpreter(watched: Watched, tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("#!/bin/sh\n")
    outer.write_text(f"#!{inner}\n")
    for each in (inner, outer):
        each.chmod(0o755)
    watched.run(str(outer))
    found = watched.exec_of("outer").exec
    assert found.interpreter == "/bin/sh"
    assert list(found.argv) == [b"/bin/sh", str(inner).encode(), str(outer).encode()]


def test_exec_of_a_memfd_is_named(watched: Watched) -> None:
    watched.python(
        "import os\nfd = os.memfd_create('payload')\nos.write(fd, open('/bin/true', 'rb').read())\n"
        "os.execve(fd, ['ls'], {})\n"
    )
    found = watched.one("exec", lambda event: event.exec.argv[0] == b"ls").exec
    assert found.exe == "/memfd:payload"
    assert found.memfd
    assert not found.deleted


def test_exec_of_a_file_that_is_only_named_like_a_memfd(watched: Watched, tmp_path: Path) -> None:
    shutil.copy(TRUE, tmp_path / "memfd:payload")
    watched.run(str(tmp_path / "memfd:payload"))
    assert not watched.exec_of("memfd:payload").exec.memfd


def test_exec_of_a_deleted_file_says_so(watched: Watched, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    shutil.copy(TRUE, tool)
    watched.python(
        "import os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\nos.unlink(sys.argv[1])\nos.execve(fd, ['gone'], {})\n",
        tool,
    )
    found = watched.one("exec", lambda event: event.exec.argv[0] == b"gone").exec
    assert found.deleted
    assert not found.memfd
    assert found.exe == str(tool)


def test_exec_in_a_chroot_shows_the_whole_path(watched: Watched, tmp_path: Path) -> None:
    shutil.copy("/bin/busybox" if os.path.exists("/bin/busybox") else "/sbin/ldconfig", tmp_path / "inside")
    watched.python(
        "import os, sys\nos.chroot(sys.argv[1])\nos.chdir('/')\nos.execv('/inside', ['inside', '--help'])\n", tmp_path
    )
    found = watched.exec_of("inside").exec
    assert (found.filename, found.exe, found.cwd) == ("/inside", str(tmp_path / "inside"), str(tmp_path))


def test_exec_below_a_mount_point(watched: Watched) -> None:
    watched.run("true", cwd="/proc/sys")
    assert watched.exec_of("true").exec.cwd == "/proc/sys"


def test_exec_in_the_root_folder(watched: Watched) -> None:
    watched.run("true", cwd="/")
    assert watched.exec_of("true").exec.cwd == "/"


def test_exec_of_a_path_that_is_no_utf8(watched: Watched, tmp_path: Path) -> None:
    shutil.copy(TRUE, os.fsencode(tmp_path) + b"/\xff\xfe")
    watched.python("import os, sys\nos.execv(os.fsencode(sys.argv[1]) + b'/\\xff\\xfe', ['x'])\n", tmp_path)
    assert watched.exec_of("\\xff\\xfe").exec.exe == f"{tmp_path}/\\xff\\xfe"


def test_exec_keeps_the_end_of_a_path_that_is_too_long(watched: Watched, tmp_path: Path) -> None:
    watched.python(
        "import os, shutil, sys\nos.chdir(sys.argv[1])\n"
        "for _ in range(6):\n os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "shutil.copy('/bin/true', 'tool')\nos.execv('./tool', ['tool'])\n",
        tmp_path,
    )
    found = watched.exec_of("tool").exec
    assert found.path_truncated
    assert found.exe == ("/" + "d" * 250) * 4 + "/tool"
    assert found.cwd == ("/" + "d" * 250) * 4


@pytest.mark.parametrize("over", [0, 1])
def test_exec_says_exactly_when_a_name_is_too_long(watched: Watched, over: int) -> None:
    slashes = "/" * (Limit.PATH - len("/bin/true") + over)
    watched.python("import os, sys\nos.execv(sys.argv[1], ['long'])\n", slashes + "/bin/true")
    found = watched.one("exec", lambda event: event.exec.argv[0] == b"long").exec
    assert found.path_truncated == bool(over)
    assert found.filename == (slashes + "/bin/true")[: Limit.PATH]


def test_exec_that_fails_is_no_event(watched: Watched) -> None:
    code = (
        "import os\nfor name in ('/nowhere', '/etc/passwd'):\n"
        "  try:\n    os.execv(name, ['x'])\n  except OSError:\n    pass\n"
    )
    watched.python(code)
    watched.empty()
    assert len(watched.of("exec")) == 1


def test_exec_chain_stays_one_process(watched: Watched) -> None:
    pid, _ = watched.run("sh", "-c", "exec env true")
    watched.empty()
    found = watched.of("exec")
    assert [event.exec.filename.rsplit("/", 1)[-1] for event in found] == ["sh", "env", "true"]
    assert {(event.process.pid, event.process.start_time_ns) for event in found} == {
        (pid, found[0].process.start_time_ns)
    }
    assert watched.ended(pid)
