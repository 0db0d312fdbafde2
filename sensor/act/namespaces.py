"""Network namespaces: every one that can be entered, and work inside them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def namespace_of(pid: int) -> int:
    """Inode of a process's network namespace; 0 when it has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def inside_each(work: Callable[[], int], places: Collection[int] | None = None) -> tuple[int, list[str]]:
    """Do something in these network namespaces (inodes), or in each of the host; the sum of what it returned, and in words
    where it failed.

    A thread of its own enters them: only it does, and it ends there.
    """
    total, problems = 0, []
    failed: list[BaseException] = []

    def visit() -> None:
        nonlocal total
        try:
            for inode, fd in _open(places):
                try:
                    _enter(fd)
                    total += work()
                except OSError as error:
                    problems.append(f"network namespace {inode}: {error.strerror}")
        except BaseException as error:  # noqa: BLE001 - it is raised by the caller, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=visit, name="namespaces")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return total, problems


def _open(places: Collection[int] | None) -> Iterator[tuple[int, int]]:
    """Inode and descriptor of each, closed after its turn: those that a process is in, then those that are mounted."""
    seen: set[int] = set()
    left = None if places is None else {inode for inode in places if inode}
    for path in (*(f"/proc/{name}/ns/net" for name in os.listdir("/proc") if name.isdecimal()), *_mounted()):
        if left is not None and not left:
            return
        with contextlib.suppress(OSError):
            inode = os.stat(path).st_ino
            if inode in seen or (left is not None and inode not in left):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                inode = os.fstat(fd).st_ino
                if inode not in seen:
                    seen.add(inode)
                    if left is not None:
                        left.discard(inode)
                    yield inode, fd
            finally:
                os.close(fd)


def _mounted() -> Iterator[str]:
    """Where `ip netns` and container engines keep namespaces."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[3].startswith("net:["):
            yield fields[4].encode().decode("unicode_escape")


def _enter(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
