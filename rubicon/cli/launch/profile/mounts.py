"""The mounts that a process sees, and changes to them (man 2 mount, man 2 unshare, man 5 proc_pid_mountinfo).

By the C library's own calls: Python 3.11 has no unshare, and no version has mount. It loads ctypes, so it is imported only
where a profile is applied.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NEWNS = 0x00020000
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _SLAVE = 32, 4096, 16384, 1 << 19
_KEPT = {
    "ro": RDONLY,
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "nosymfollow": 256,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}
"""A remount sets all flags of a mount anew: what is not named again is gone."""

_OCTAL = re.compile(r"\\([0-7]{3})")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo; `device` is MAJOR:MINOR, `root` the folder of the file system that `point` shows."""

    number: int
    device: str
    root: str
    point: str
    flags: int
    kind: str


def own_namespace() -> None:
    """From here on what is mounted here is seen here only; what the host mounts later is seen here too.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN.
    """
    _checked(_libc.unshare(_NEWNS))
    _mount(None, "/", None, _REC | _SLAVE)


def table() -> list[Mount]:
    """All mounts of this namespace, in the kernel's order: what lies over another comes after it."""
    with open("/proc/self/mountinfo", "rb") as file:
        return [_parsed(os.fsdecode(line)) for line in file]


def tops(mounts: Iterable[Mount]) -> Iterator[tuple[Mount, str]]:
    """Those that are not hidden below another, each with a path that leads to no other while the caller has it."""
    for mount in mounts:
        with contextlib.suppress(PermissionError, FileNotFoundError), _held(mount.point) as path:
            if _number(path) == mount.number:
                yield mount, path


def restrict(mount: Mount, path: str, flags: int) -> None:
    """Set flags on a mount, beside those that it has.

    Raises:
        OSError: the kernel refuses.
    """
    if mount.flags & flags != flags:
        _mount(None, path, None, _REMOUNT | _BIND | mount.flags | flags)


def over_itself(path: str, flags: int) -> None:
    """Have a file, or a folder without what is mounted below it, with flags that its mount does not have.

    Raises:
        OSError: the kernel refuses.
    """
    flags |= _flags_of(path)
    _mount(path, path, None, _BIND)
    _mount(None, path, None, _REMOUNT | _BIND | flags)


def tree_over_itself(path: str) -> None:
    """Make a folder a mount of its own, with what is mounted below it."""
    _mount(path, path, None, _BIND | _REC)


def nothing_over(path: str) -> None:
    """Lay an empty, read-only folder over one.

    Raises:
        OSError: the kernel refuses.
    """
    _mount("rubicon", path, "tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, "mode=0555,size=4k")


def nothing_to_open_over(path: str) -> None:
    """Lay a device node that nobody may open over a file: EACCES, also for root.

    Raises:
        OSError: the kernel refuses.
    """
    _mount("/dev/null", path, None, _BIND)
    _mount(None, path, None, _REMOUNT | _BIND | RDONLY | NOSUID | NODEV | NOEXEC)


def new_proc_over(path: str) -> None:
    """A /proc without the processes that its reader may not trace; nothing before Linux 5.8, where it would change all."""
    with contextlib.suppress(_Unknown):
        _mount("proc", path, "proc", NOSUID | NODEV | NOEXEC, "hidepid=ptraceable")


class _Unknown(OSError):
    """EINVAL: the kernel does not know the option."""


def _parsed(line: str) -> Mount:
    fields = line.split(" ")
    options = fields[5].split(",")
    return Mount(
        number=int(fields[0]),
        device=fields[2],
        root=unescaped(fields[3]),
        point=unescaped(fields[4]),
        flags=sum(_KEPT.get(option, 0) for option in options),
        kind=fields[fields.index("-") + 1],
    )


def unescaped(text: str) -> str:
    """A path as the kernel writes it into its tables: blanks and the like in octal."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text) if "\\" in text else text


@contextlib.contextmanager
def _held(path: str) -> Iterator[str]:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _number(path: str) -> int:
    with open(path.replace("/fd/", "/fdinfo/")) as file:
        return next(int(line[7:]) for line in file if line.startswith("mnt_id:"))


def _flags_of(path: str) -> int:
    told = os.statvfs(path).f_flag
    # statvfs has the bits of mount, but for relatime
    alike = RDONLY | NOSUID | NODEV | NOEXEC | _KEPT["noatime"] | _KEPT["nodiratime"]
    return told & alike | (_KEPT["relatime"] if told & os.ST_RELATIME else 0)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = (os.fsencode(word) if word is not None else None for word in (source, target, kind))
    data = options.encode() if options is not None else None
    if _libc.mount(*words, ctypes.c_ulong(flags), data) < 0:
        number = ctypes.get_errno()
        raise (_Unknown if number == errno.EINVAL and kind == "proc" else OSError)(number, os.strerror(number), target)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
