"""What this host offers: privileges, kernel types, the v2 cgroup hierarchy, a bpf file system, tracepoint numbers.

Everything is asked for, nothing is assumed from a version. Mounts are found in /proc/self/mountinfo (proc(5)).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rubicon.v1.instance import Instance
from sensor.kernel import bpf
from sensor.kernel.errors import LockedDown, MissingPrivileges, NoBpffs, NoCgroup2, NoKernelTypes

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
BPFFS = Path("/sys/fs/bpf")
_CAPABILITIES = {39: "CAP_BPF", 38: "CAP_PERFMON", 12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_PRELOADED = {"maps.debug", "progs.debug"}
"""What the kernel itself puts into each bpf file system (kernel/bpf/preload, 5.10)."""
_libc = ctypes.CDLL(None, use_errno=True)
_FSOPEN, _FSCONFIG, _FSMOUNT, _FSCONFIG_CREATE = 430, 431, 432, 6
_XADD_FETCH = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    path: Path
    root: str
    type: str


def mounts() -> Iterator[Mount]:
    """All mounts of this namespace, in their order."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        path = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
        yield Mount(Path(path), fields[3], after.split(" ")[0])


def check() -> None:
    """Ask whether hooks can be loaded here at all.

    Raises:
        MissingPrivileges: this process may not.
        LockedDown: nobody may.
        NoKernelTypes: no BTF.
    """
    effective = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")).split()[
            1
        ],
        16,
    )
    absent = [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]
    if absent:
        raise MissingPrivileges(f"this process lacks {', '.join(absent)}: run the sensor as root (sudo), or privileged")
    lockdown = Path("/sys/kernel/security/lockdown")
    if lockdown.exists() and "[confidentiality]" in lockdown.read_text():
        raise LockedDown("lockdown=confidentiality forbids hooks to read kernel memory: boot with lockdown=integrity")
    if not KERNEL_TYPES.exists():
        raise NoKernelTypes(
            f"{KERNEL_TYPES} is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF, use one with it"
        )
    try:
        has_atomic_fetch()
    except PermissionError:
        raise MissingPrivileges(
            "the kernel refuses bpf(2) to this process: look for seccomp or another security module"
        ) from None


def has_atomic_fetch() -> bool:
    """True when BPF programs may fetch and add in one step (5.12): else the objects built without it are loaded.

    Raises:
        PermissionError: bpf(2) is refused altogether.
    """
    instructions = (
        struct.pack("<BBhi", 0xB7, 0, 0, 0)  # r0 = 0
        + struct.pack("<BBhi", 0x7B, 0x0A, -8, 0)  # *(u64 *)(r10 - 8) = r0
        + struct.pack("<BBhi", _XADD_FETCH, 0x0A, -8, 1)  # r0 = fetch_add(r10 - 8, r0)
        + struct.pack("<BBhi", 0x95, 0, 0, 0)  # exit
    )
    try:
        os.close(bpf.load_raw(1, instructions))
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def cgroup_root() -> Path:
    """Where the v2 hierarchy is mounted; the mount that shows its root, where there are several.

    Raises:
        NoCgroup2: nowhere.
    """
    found = [mount for mount in mounts() if mount.type == "cgroup2"]
    if not found:
        raise NoCgroup2("no cgroup v2 hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    return next((mount.path for mount in found if mount.root == "/"), found[0].path)


def bpffs() -> Path | None:
    """Where a bpf file system is mounted: the usual place, else the first."""
    found = [mount.path for mount in mounts() if mount.type == "bpf"]
    return BPFFS if BPFFS in found else found[0] if found else None


def ensure_bpffs(instance: Instance) -> Path:
    """A bpf file system, mounted at the usual place where there is none; what was mounted is recorded for `release`.

    Raises:
        NoBpffs: none, and it cannot be mounted.
    """
    found = bpffs()
    if found:
        return found
    instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # recorded first: after a crash in between there is a record too many, which does no harm
    _record(instance.state_dir, [str(BPFFS)])
    if _libc.mount(b"bpf", os.fsencode(BPFFS), b"bpf", 0, b"mode=0700"):
        code = ctypes.get_errno()
        raise NoBpffs(f"cannot mount a bpf file system at {BPFFS}: {os.strerror(code)}; mount -t bpf bpf {BPFFS}")
    return BPFFS


def _record(state: Path, paths: list[str]) -> None:
    target = state / "mounts.json"
    if not paths:
        target.unlink(missing_ok=True)
        return
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(paths))
    partial.replace(target)


def release_bpffs(instance: Instance) -> None:
    """Unmount what `ensure_bpffs` mounted, once it is empty. While others have pins there, the duty passes to one of them."""
    record = instance.state_dir / "mounts.json"
    try:
        paths = [Path(each) for each in json.loads(record.read_text())]
    except (OSError, ValueError):
        return
    for path in paths:
        if not any(mount.path == path and mount.type == "bpf" for mount in mounts()):
            continue
        others = [each.name for each in path.iterdir() if each.name not in _PRELOADED]
        heirs = [state for name in others if (state := instance.state_dir.with_name(name)).is_dir()]
        if heirs:
            _record(heirs[0], [str(path)])
        elif not others and _libc.umount2(os.fsencode(path), 0) and ctypes.get_errno() != errno.EBUSY:
            raise NoBpffs(f"cannot unmount {path}: {os.strerror(ctypes.get_errno())}")
    _record(instance.state_dir, [])


def tracepoint_id(tracepoint: str) -> int:
    """Number of a tracepoint (CATEGORY/NAME), from a tracefs that is mounted nowhere: nothing is left behind (5.2).

    Raises:
        OSError: no such tracepoint, or no tracefs in this kernel.
    """
    context = _checked(_libc.syscall(_FSOPEN, b"tracefs", 1))
    try:
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CREATE, None, None, 0))
        root = _checked(_libc.syscall(_FSMOUNT, context, 1, 0))
    finally:
        os.close(context)
    try:
        file = os.open(f"events/{tracepoint}/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)
    with open(file) as text:
        return int(text.read())


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"tracefs: {os.strerror(code)}")
    return result


def pid_max() -> int:
    """Most processes that this kernel can have."""
    return int(Path("/proc/sys/kernel/pid_max").read_text())
