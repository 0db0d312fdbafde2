"""Walls: what of the host's files even root may not reach, by mounts of CMD's own.

They are made while CMD still has CAP_SYS_ADMIN, and stand because it has it no longer: who may not mount cannot take a mount
away. In a user namespace, where it may mount, the kernel has locked them (man 7 mount_namespaces). They hold for what is
opened by a path: a descriptor that CMD inherits leads where it leads.

Everything else of the host is as it was, and what the host mounts later is seen.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from rubicon.cli.launch.profile import mounts
from rubicon.cli.launch.profile.lists import DRIVERS, KERNEL_FILES, MEMORY, PROC
from rubicon.v1.instance import DEFAULT, Instance

_MISC = 10


def build(instance: Instance, *, root: bool) -> None:
    """Put this process, and all that it starts, behind them.

    Args:
        root: CMD's user is root: what file permissions keep from others is kept from it.

    Raises:
        OSError: the kernel refuses one of them; CMD must not run.
    """
    if not instance.state_dir.is_dir():  # nothing to hide now, and nothing would hide it later
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(instance.state_dir))
    here, swap = _working_folder(), list(_swap())
    mounts.own_namespace()
    if root:
        _proc()
    before = mounts.table()
    if not any(mount.point == "/dev" for mount in before):
        mounts.tree_over_itself("/dev")
    for path in [alias for state in _states(instance) for alias in _aliases(state, before)]:
        _hide(path)
    for folder in (instance.run_dir, instance.settings_file.parent):
        if folder.is_dir():
            mounts.over_itself(str(folder), mounts.RDONLY)
    for path in swap:
        _hide(path)
    for mount, path in mounts.tops(mount for mount in mounts.table() if not _done(mount)):
        if mount.kind == "bpf":
            mounts.nothing_over(path)
        elif mount.kind in KERNEL_FILES:
            mounts.restrict(mount, path, mounts.RDONLY)
        elif mount.kind == "devtmpfs" or mount.point == "/dev":
            for node in _refused_nodes(mount.point):
                mounts.over_itself(node, mounts.NODEV)
        else:
            mounts.restrict(mount, path, mounts.NODEV)
    if here:
        os.chdir(here)  # by its path: it may lie below one of the mounts now


def _done(mount: mounts.Mount) -> bool:
    """It needs nothing, or has it: that is most of them, and to look at each costs."""
    if mount.kind in KERNEL_FILES:
        return bool(mount.flags & mounts.RDONLY)
    if mount.kind in ("bpf", "devtmpfs") or mount.point == "/dev":
        return False
    return mount.kind in ("proc", "devpts") or bool(mount.flags & mounts.NODEV)


def _hide(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # another instance's, that has just been removed
        if os.path.isdir(path):
            mounts.nothing_over(path)
        else:
            mounts.nothing_to_open_over(path)


def _working_folder() -> str:
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return ""  # it has been removed: nothing is in it, and nothing will be


def _states(instance: Instance) -> set[str]:
    """State folders, of the other instances too: their daemons are as much this host's."""
    parent = instance.state_dir.parent
    found = {*parent.glob(DEFAULT), *parent.glob(f"{DEFAULT}-*"), instance.state_dir}
    return {os.path.realpath(path) for path in found}


def _aliases(path: str, table: list[mounts.Mount]) -> Iterator[str]:
    """Every path under which a folder is to be had: file systems may be mounted at several places, whole or in part."""
    held = next(mount for mount in reversed(table) if _below(path, mount.point) is not None)
    inside = os.path.join(held.root, _below(path, held.point) or "")
    yield path
    for mount in table:
        if mount.device != held.device or mount is held:
            continue
        if (rest := _below(inside, mount.root)) is not None:
            alias = os.path.join(mount.point, rest)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if alias != path and os.path.samefile(alias, path):
                    yield alias
        elif _below(mount.root, inside) is not None:
            yield mount.point  # a part of it


def _below(path: str, folder: str) -> str | None:
    """The rest of a path from a folder on, "" for the folder itself; None where it is not below it."""
    if path == folder:
        return ""
    folder = folder.rstrip("/") + "/"
    return path[len(folder) :] if path.startswith(folder) else None


def _swap() -> Iterator[str]:
    """Swap files: what the daemons had in memory may be in there."""
    with contextlib.suppress(FileNotFoundError), open("/proc/swaps") as file:  # a kernel without swap
        for line in file.readlines()[1:]:
            name, kind = line.split()[:2]
            if kind == "file":
                yield mounts.unescaped(name)


def _proc() -> None:
    for mount, _ in mounts.tops(mounts.table()):
        if mount.kind != "proc":
            continue
        if mount.root == "/":
            mounts.new_proc_over(mount.point)
        for name in PROC:
            if os.path.exists(f"{mount.point}/{name}"):
                mounts.over_itself(f"{mount.point}/{name}", mounts.RDONLY)


def _refused_nodes(place: str) -> Iterator[str]:
    """Device nodes in a folder that nobody may open, or the place itself where it is such a node."""
    drivers, misc = _names("/proc/devices"), _names("/proc/misc")
    for path in _walked(place) if os.path.isdir(place) else (place,):
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            if stat.S_ISBLK(status.st_mode):
                yield path
            elif stat.S_ISCHR(status.st_mode):
                driver = (misc.get(minor) if major == _MISC else drivers.get(major)) or set()
                if (major == 1 and minor in MEMORY) or driver & DRIVERS.keys():
                    yield path


def _walked(folder: str) -> Iterator[str]:
    """Everything below, of this file system alone."""
    device = os.stat(folder).st_dev
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.stat(follow_symlinks=False).st_dev == device:
                    yield from _walked(entry.path)
            else:
                yield entry.path


def _names(table: str) -> dict[int, set[str]]:
    """Drivers' names by number: of character devices in /proc/devices, of the miscellaneous ones in /proc/misc."""
    found: dict[int, set[str]] = {}
    with open(table) as file:
        for line in file:
            number, _, name = line.strip().partition(" ")
            if line.startswith("Block devices"):
                break
            if number.isdecimal():
                found.setdefault(int(number), set()).add(name.strip())
    return found
