"""cgroups, on the host's own v2 hierarchy."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensor.act import cgroup
from sensor.errors import CgroupNotFound, ProcessNotFound

pytestmark = pytest.mark.root


@pytest.fixture
def own() -> Iterator[cgroup.Cgroup]:
    made = cgroup.Cgroup.at(f"/rubicon-t-{os.getpid()}-{secrets.token_hex(4)}")
    made.make()
    yield made
    made.kill()
    deadline = time.monotonic() + 10
    while not made.remove() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_the_mount_is_found_on_this_host() -> None:
    assert (cgroup.mount() / "cgroup.procs").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"),
        ("30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup"),
        ("41 31 0:38 / /odd\\040name rw - cgroup2 none rw\n", "/odd name"),
        ("1 1 0:1 /part /a rw - cgroup2 none rw\n2 1 0:1 / /whole rw - cgroup2 none rw\n", "/whole"),
    ],
)
def test_the_mount_is_read_from_mountinfo(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "mountinfo").write_text(text)
    assert cgroup.mount(tmp_path / "mountinfo") == Path(found)


@pytest.mark.parametrize("text", ["", "garbage\n", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"])
def test_without_a_v2_hierarchy_there_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "mountinfo").write_text(text)
    with pytest.raises(CgroupNotFound, match="mount -t cgroup2"):
        cgroup.mount(tmp_path / "mountinfo")


@pytest.mark.parametrize("path", ["/a/../b", "../x", "/./a", "a\0b"])
def test_a_path_cannot_leave_the_hierarchy(path: str) -> None:
    with pytest.raises(CgroupNotFound):
        cgroup.Cgroup.at(path)


def test_the_id_is_the_kernels(own: cgroup.Cgroup) -> None:
    # name_to_handle_at(2) on cgroupfs returns the same 64-bit id that bpf_get_current_cgroup_id() does
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(b"\x08\0\0\0" + bytes(12), 16)
    mount_id = ctypes.c_int()
    assert libc.name_to_handle_at(-100, str(own.folder).encode(), handle, ctypes.byref(mount_id), 0) == 0
    assert int.from_bytes(handle.raw[8:16], "little") == own.id


def test_a_process_is_moved_and_found_below(own: cgroup.Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    below = cgroup.Cgroup.at(own.path + "/below")
    below.make()
    below.move(sleeper.pid)
    assert own.processes() == {sleeper.pid}
    assert cgroup.of_process(sleeper.pid) == below
    assert own.ids() == {own.id, below.id}
    assert not own.remove()


def test_kill_ends_a_frozen_process_and_its_cgroup_goes(own: cgroup.Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    assert own.freeze()
    own.move(sleeper.pid)
    assert own.kill()
    assert sleeper.wait(timeout=10) == -9
    assert own.processes() == set()
    assert own.remove()
    assert not own.exists


def test_what_is_gone_has_no_processes() -> None:
    gone = cgroup.Cgroup.at("/rubicon-never-was")
    assert gone.processes() == set()
    assert gone.ids() == set()
    assert not gone.kill()
    assert gone.remove()
    with pytest.raises(CgroupNotFound, match="rubicon-never-was"):
        _ = gone.id


def test_moving_a_process_that_ended_is_a_typed_error(own: cgroup.Cgroup) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(ProcessNotFound):
        own.move(ended.pid)
    with pytest.raises(ProcessNotFound):
        cgroup.of_process(ended.pid)
