"""A cgroup's path from its id, on the default (v2) hierarchy.

The id is the kernfs node's file handle, so the kernel itself finds the folder (open_by_handle_at(2), FILEID_KERNFS
since 5.5): no walk through thousands of folders, and no confusion with v1 hierarchies, whose ids collide with these.
Needs CAP_DAC_READ_SEARCH."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_FILEID_KERNFS = 0xFE
_O_PATH = 0o10000000


class _Handle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("id", ctypes.c_ubyte * 8))


def mount_point() -> Path | None:
    """Where the default hierarchy is mounted, from /proc/self/mountinfo; None when it is not."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                return Path(before.split(" ")[4].replace("\\040", " "))
    return None


class CgroupPaths:
    """Resolves ids. Everything is best effort: a folder may be gone before anybody asks."""

    def __init__(self) -> None:
        self._root = mount_point()
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if self._root else -1
        self._libc = ctypes.CDLL(None, use_errno=True)

    def path(self, cgroup_id: int) -> str:
        """Path below the mount, beginning with '/'; empty when it cannot be found."""
        if self._fd < 0:
            return ""
        handle = _Handle(8, _FILEID_KERNFS, (ctypes.c_ubyte * 8)(*struct.pack("<Q", cgroup_id)))
        fd = self._libc.open_by_handle_at(self._fd, ctypes.byref(handle), _O_PATH | os.O_CLOEXEC)
        if fd < 0:
            return ""
        try:
            full = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            return ""
        finally:
            os.close(fd)
        path = full.removeprefix(str(self._root)) or "/"
        if path.endswith(" (deleted)"):
            return ""
        return path.encode(errors="surrogateescape").decode(errors="backslashreplace")

    def close(self) -> None:
        """Let go of the mount."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
