"""fanotify(7), as far as it is needed: be asked before a file is opened, and answer; be told what has changed in a folder.

By ctypes: the one package that wraps it (pyfanotify) is an extension module with a process of its own, for two system calls.
Layouts: include/uapi/linux/fanotify.h, stable. All functions raise OSError with the kernel's errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

_libc = ctypes.CDLL(None, use_errno=True)
_CLOEXEC, _NONBLOCK, _CLASS_CONTENT, _UNLIMITED_QUEUE, _UNLIMITED_MARKS = 0x1, 0x2, 0x4, 0x10, 0x20
_ADD, _DONT_FOLLOW, _ONLYDIR = 0x1, 0x4, 0x8
_FOLDER = _ADD | _ONLYDIR | _DONT_FOLLOW
_OPEN_PERM, _EVENT_ON_CHILD, _ONDIR = 0x10000, 0x08000000, 0x40000000
_ALLOW, _DENY = 1, 2
_METADATA = struct.Struct("<IBxHQii")
_RESPONSE = struct.Struct("<iI")
_AT_FDCWD, _AT_HANDLE_FID = -100, 0x200
_REPORT_DFID_NAME = 0xC00
_CHANGE_BYTES, _HANDLE_BYTES = 65536, 128
_READ_BYTES = 64 * _METADATA.size


@dataclass(frozen=True, slots=True)
class Opening:
    """Somebody who waits in open(2). `fd` is the file, open for whoever answers, who must close it."""

    fd: int
    pid: int
    """tgid in the reader's pid namespace, 0 for a process that is not visible there."""


class Fanotify:
    """One group. Who opens what is marked waits until `answer`; all of them may go on when the last descriptor closes."""

    def __init__(self) -> None:
        """Make it, without limits on marks and queue: a queue that is full would let openings pass unasked.

        Raises:
            OSError: the kernel was built without it (ENOSYS, EINVAL), or no CAP_SYS_ADMIN.
        """
        flags = _CLOEXEC | _NONBLOCK | _CLASS_CONTENT | _UNLIMITED_QUEUE | _UNLIMITED_MARKS
        self.fd = _checked(_libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE))

    def mark_folder(self, path: str) -> None:
        """Be asked for a folder and for whatever is directly in it, now or later.

        Raises:
            OSError: no such folder, or its file system cannot (ENODEV, EOPNOTSUPP).
        """
        _mark(self.fd, _FOLDER, _OPEN_PERM | _EVENT_ON_CHILD | _ONDIR, _AT_FDCWD, path)

    def mark_file(self, path: str) -> None:
        """Be asked for an inode, by whatever name, mount or handle it is opened.

        Raises:
            OSError: as above.
        """
        _mark(self.fd, _ADD | _DONT_FOLLOW, _OPEN_PERM, _AT_FDCWD, path)

    def mark_opened(self, fd: int) -> None:
        """The same for what somebody is about to open."""
        _mark(self.fd, _ADD, _OPEN_PERM, fd, None)

    def waiting(self) -> Iterator[Opening]:
        """Who waits now; nobody where nobody does.

        Raises:
            OSError: this process may have no more descriptors (EMFILE). The kernel has refused that opening then.
        """
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        place = 0
        while place < len(data):
            length, _, _, _, fd, pid = _METADATA.unpack_from(data, place)
            place += length
            if fd >= 0:
                yield Opening(fd, pid)

    def answer(self, opening: Opening, *, allow: bool) -> None:
        """Let it open, or have it refused with EPERM; nothing happens when it was killed meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            os.write(self.fd, _RESPONSE.pack(opening.fd, _ALLOW if allow else _DENY))

    def close(self) -> None:
        """Whoever waits may go on."""
        os.close(self.fd)


def _mark(group: int, flags: int, mask: int, folder: int, path: str | None) -> None:
    _checked(_libc.fanotify_mark(group, flags, ctypes.c_uint64(mask), folder, path and os.fsencode(path)))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"fanotify: {os.strerror(code)}")
    return result


class Change(IntFlag):
    """What happened to a name in a folder; the numbers are fanotify's."""

    WRITTEN = 0x2
    MOVED_AWAY = 0x40
    MOVED_HERE = 0x80
    MADE = 0x100
    REMOVED = 0x200


@dataclass(frozen=True, slots=True)
class Changed:
    """One change, or several of one name by one process."""

    what: Change
    folder: str
    name: str
    pid: int
    """tgid in the reader's pid namespace; it may have ended."""


class Watcher:
    """One group that is told afterwards. It asks nobody to wait."""

    def __init__(self) -> None:
        """Make it.

        Raises:
            OSError: a kernel that does not tell names (before 5.9), or no CAP_SYS_ADMIN.
        """
        self.fd = _checked(_libc.fanotify_init(_CLOEXEC | _NONBLOCK | _REPORT_DFID_NAME, os.O_RDONLY | os.O_CLOEXEC))
        self._folders: dict[bytes, str] = {}

    def watch(self, folder: str) -> None:
        """Be told of changes directly in a folder.

        Raises:
            OSError: no such folder, or its file system has no handles.
        """
        _mark(self.fd, _FOLDER, sum(Change) | _EVENT_ON_CHILD | _ONDIR, _AT_FDCWD, folder)
        self._folders[_handle(folder)] = folder

    def changes(self) -> Iterator[Changed]:
        """What happened since the last call."""
        while True:
            try:
                data = os.read(self.fd, _CHANGE_BYTES)
            except BlockingIOError:
                return
            place = 0
            while place < len(data):
                length, _, size, mask, _, pid = _METADATA.unpack_from(data, place)
                handle, name = _info(data[place + size : place + length])
                place += length
                what = Change(mask & sum(Change))
                if what:
                    yield Changed(what, self._folders.get(handle, "?"), name, pid)

    def close(self) -> None:
        """Be told no more."""
        os.close(self.fd)


def _handle(path: str) -> bytes:
    """A folder's handle, as the kernel tells it with a change: length, type and bytes.

    overlayfs has handles to tell by, not to open by: asked for those (6.5), as the kernel itself does for a change (6.6).
    """
    try:
        return _handle_at(path, 0)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    return _handle_at(path, _AT_HANDLE_FID)


def _handle_at(path: str, flags: int) -> bytes:
    buffer, mount = ctypes.create_string_buffer(struct.pack("<Ii", _HANDLE_BYTES, 0), 8 + _HANDLE_BYTES), ctypes.c_int()
    _checked(_libc.name_to_handle_at(_AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount), flags))
    length = struct.unpack_from("<I", buffer)[0]
    return buffer.raw[: 8 + length]


def _info(record: bytes) -> tuple[bytes, str]:
    """(folder's handle, name) of struct fanotify_event_info_fid: header, fsid, handle, name."""
    if len(record) < 20:
        return b"", "?"
    length = struct.unpack_from("<I", record, 12)[0]
    name = record[20 + length :].partition(b"\0")[0]
    return record[12 : 20 + length], os.fsdecode(name)
