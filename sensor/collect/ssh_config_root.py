"""An agent's files, seen from inside its root. Runs in the helper, as nobody."""

from __future__ import annotations

import ctypes
import fnmatch
import os
import posixpath
import stat
import struct

FILE_BYTES = 256 << 10
TOTAL_BYTES = 1 << 20
FILES = 64
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_libc = ctypes.CDLL(None, use_errno=True)


class Unreadable(Exception):
    """A file that is not read, and why."""


class Root:
    """Files below one folder that nothing leads out of: no symlink, no `..`, no magic link."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._total = 0
        self.files: list[str] = []

    def read(self, path: str) -> str:
        """The text of a regular file.

        Raises:
            Unreadable: it is something else, or the files are too many or too large.
            OSError: it cannot be opened.
        """
        if len(self.files) >= FILES:
            raise Unreadable(f"more than {FILES} files")
        descriptor = self._open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable(f"{path} is no regular file")
            data = b""
            while len(data) <= FILE_BYTES and (piece := os.read(descriptor, FILE_BYTES + 1 - len(data))):
                data += piece
        finally:
            os.close(descriptor)
        self.files.append(path)
        self._total += len(data)
        if len(data) > FILE_BYTES or self._total > TOTAL_BYTES:
            raise Unreadable(f"{path} is larger than {FILE_BYTES} bytes, or all files together than {TOTAL_BYTES}")
        return data.decode("utf-8", "replace")

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted, at most FILES; a path without wildcards is returned as it is."""
        found = ["/"]
        for part in [part for part in pattern.split("/") if part]:
            if not any(mark in part for mark in "*?["):
                found = [posixpath.join(path, part) for path in found]
                continue
            hits: list[str] = []
            for path in found:
                names = [name for name in self._names(path) if fnmatch.fnmatchcase(name, part)]
                hits.extend(posixpath.join(path, name) for name in names if part.startswith(".") or name[0] != ".")
            found = sorted(hits)[:FILES]
        return found

    def _names(self, path: str) -> list[str]:
        try:
            descriptor = self._open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            return os.listdir(descriptor)[:4096]
        finally:
            os.close(descriptor)

    def _open(self, path: str, flags: int) -> int:
        how = struct.pack("<QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        name = os.fsencode(path)
        if b"\0" in name:
            raise Unreadable("a path has a NUL in it")
        descriptor = int(_libc.syscall(_SYS_OPENAT2, self._descriptor, name, how, len(how)))
        if descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return descriptor
