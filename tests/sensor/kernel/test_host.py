"""A host that cannot, or is not set up: each lack is an error of its own that says what to do, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rubicon.v1.instance import Instance
from sensor.kernel import host
from sensor.kernel.errors import NoBpffs
from tests.sensor.kernel.elsewhere import OPEN, elsewhere

pytestmark = pytest.mark.root

_NO_CGROUP2 = "grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5 | while read -r at; do umount -l \"$at\"; done"
_NO_BPFFS = "grep ' - bpf ' /proc/self/mountinfo | cut -d' ' -f5 | while read -r at; do umount -l \"$at\"; done"
_NO_TRACEFS = (
    "grep -E ' - (tracefs|debugfs) ' /proc/self/mountinfo | cut -d' ' -f5 | sort -r "
    '| while read -r at; do umount -l "$at"; done'
)
_WITHOUT_RIGHT = """
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(24, {0})  # PR_CAPBSET_DROP: an execve then gives it to nobody
import os, sys
if len(sys.argv) < 2:
    os.execv(sys.executable, [sys.executable, __file__, "again"])
"""
_SECCOMP = """
import ctypes, struct
# if the system call is bpf: EPERM, else allow (seccomp(2))
lines = ((0x20, 0, 0, 0), (0x15, 0, 1, {0}), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000))
code = b"".join(struct.pack("<HBBI", *line) for line in lines)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("<HxxxxxxQ", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert not libc.prctl(38, 1, 0, 0, 0) and not libc.prctl(22, 2, program, 0, 0), ctypes.get_errno()
"""
_BPF = {"x86_64": 321, "aarch64": 280}


def _error(instance: Instance, setup: str = "", code: str = OPEN) -> tuple[str, str]:
    name, text = elsewhere(instance, setup, code)[-1].split("|", 1)
    return name, text


def _no_pins(instance: Instance) -> bool:
    found = host.bpffs()
    return found is None or not (found / instance.name).exists()


def test_a_user_without_rights_is_told_to_use_root(instance: Instance) -> None:
    become_nobody = (
        "import os, sensor.kernel.loader\nos.setgroups([])\nos.setresgid(*[65534] * 3)\nos.setresuid(*[65534] * 3)\n"
    )
    name, text = _error(instance, code=become_nobody + OPEN)
    assert name == "MissingPrivileges"
    assert "CAP_BPF" in text
    assert "sudo" in text
    assert _no_pins(instance)


@pytest.mark.parametrize(
    ("bit", "name"), [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")]
)
def test_root_without_a_capability_is_told_which(instance: Instance, bit: int, name: str) -> None:
    kind, text = _error(instance, code=_WITHOUT_RIGHT.format(bit) + OPEN)
    assert kind == "MissingPrivileges"
    assert f"lacks {name}:" in text


def test_a_refused_system_call_is_told_from_a_missing_right(instance: Instance) -> None:
    kind, text = _error(instance, code=_SECCOMP.format(_BPF[os.uname().machine]) + OPEN)
    assert kind == "MissingPrivileges"
    assert "seccomp" in text


def test_no_kernel_types(instance: Instance) -> None:
    kind, text = _error(instance, "mount -t tmpfs none /sys/kernel/btf")
    assert kind == "NoKernelTypes"
    assert "CONFIG_DEBUG_INFO_BTF" in text
    assert _no_pins(instance)


def test_lockdown_that_forbids_reading(instance: Instance) -> None:
    setup = "mount -t tmpfs none /sys/kernel/security; echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown"
    kind, text = _error(instance, setup)
    assert kind == "LockedDown"
    assert "lockdown=integrity" in text


def test_no_cgroup2(instance: Instance) -> None:
    kind, text = _error(instance, _NO_CGROUP2)
    assert kind == "NoCgroup2"
    assert "mount -t cgroup2" in text
    assert _no_pins(instance)


def test_cgroup2_anywhere_is_found(instance: Instance) -> None:
    """Also where its path has a character that mountinfo escapes."""
    setup = f"{_NO_CGROUP2}\nmount -t tmpfs none /mnt; mkdir '/mnt/a b'; mount -t cgroup2 none '/mnt/a b'"
    code = "from sensor.kernel import host\nprint(host.cgroup_root())\n"
    assert elsewhere(instance, setup, code + OPEN) == ["/mnt/a b", "open"]


def test_bpffs_that_is_not_mounted_is_mounted_and_unmounted_again(instance: Instance) -> None:
    after = """
from sensor.kernel import host
print(host.bpffs(), (instance.state_dir / "mounts.json").read_text())
kernel.close()
Kernel.unload(instance)
print(host.bpffs(), (instance.state_dir / "mounts.json").exists())
"""
    assert elsewhere(instance, _NO_BPFFS, after=after) == ["open", '/sys/fs/bpf ["/sys/fs/bpf"]', "None False"]


def test_bpffs_that_was_there_stays(instance: Instance) -> None:
    setup = f"{_NO_BPFFS}\nmount -t bpf none /sys/fs/bpf"
    after = "kernel.close()\nKernel.unload(instance)\nfrom sensor.kernel import host\nprint(host.bpffs())\n"
    assert elsewhere(instance, setup, after=after) == ["open", "/sys/fs/bpf"]


def test_bpffs_that_was_mounted_for_two_goes_with_the_second(instance: Instance) -> None:
    """The first `down` leaves it to the other instance, whose pins are there."""
    after = """
from sensor.kernel import host
other = Instance(instance.name + "-b")
second = Kernel.open(other, KernelSettings())
kernel.close()
Kernel.unload(instance)
print(host.bpffs())
second.close()
Kernel.unload(other)
print(host.bpffs())
other.state_dir.rmdir()
"""
    setup = f"{_NO_BPFFS}\nmkdir /var/lib/{instance.name}-b"
    assert elsewhere(instance, setup, after=after) == ["open", "/sys/fs/bpf", "None"]


def test_no_bpffs_and_no_place_for_one(instance: Instance) -> None:
    kind, text = _error(instance, f"{_NO_BPFFS}\nmount -t tmpfs none /sys/fs")
    assert kind == NoBpffs.__name__
    assert "mount -t bpf bpf /sys/fs/bpf" in text


@pytest.mark.parametrize(
    "setup", [_NO_TRACEFS, f"{_NO_TRACEFS}\nmount -t tracefs none /sys/kernel/tracing"], ids=["not", "is"]
)
def test_tracefs_need_not_be_mounted(instance: Instance, setup: str) -> None:
    """The tracepoints of `condemning` are found all the same, and no mount is left."""
    after = """
from pathlib import Path
mounts = Path("/proc/self/mountinfo").read_text()
kernel.condemning(True)
print(*(each for each in kernel._pins.link_names() if each.startswith("condemn")))
kernel.condemning(False)
print(*(each for each in kernel._pins.link_names() if each.startswith("condemn")))
print(Path("/proc/self/mountinfo").read_text() == mounts)
"""
    made = (
        "condemn_clone condemn_clone3 condemn_fork condemn_vfork"
        if os.uname().machine == "x86_64"
        else "condemn_clone condemn_clone3"
    )
    assert elsewhere(instance, setup, after=after) == ["open", made, "", "True"]


def test_no_libbpf(instance: Instance) -> None:
    setup = (
        "for each in $(ldconfig -p | grep libbpf.so.1 | sed 's/.* => //'); do mount --bind /dev/null \"$each\"; done"
    )
    kind, text = _error(instance, setup)
    assert kind == "NoLibbpf"
    assert "apt install libbpf1" in text


def test_no_objects(instance: Instance) -> None:
    folder = Path(__file__).parents[3] / "sensor" / "kernel" / "objects"
    kind, text = _error(instance, f"mount -t tmpfs none {folder}")
    assert kind == "NoLibbpf"
    assert "make bpf" in text
