"""cgroups on the default (v2) hierarchy: where it is mounted, who is in one, and the kernel's own kill switch.

The mount is read from /proc/self/mountinfo: a hybrid host has it at /sys/fs/cgroup/unified, a private mount namespace
anywhere. Ids are the directories' inode numbers, which is what bpf_get_current_cgroup_id() returns on a 64-bit kernel
(kernfs, include/linux/kernfs.h: kernfs_id is the inode number).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sensor.errors import CgroupNotFound, ProcessNotFound

MOUNTINFO = Path("/proc/self/mountinfo")


def mount(mountinfo: Path = MOUNTINFO) -> Path:
    """The v2 hierarchy's root folder as this process sees it.

    Raises:
        CgroupNotFound: the hierarchy is not mounted whole (proc(5): fields 4, 5 and the type after the separator).
    """
    found = None
    for line in mountinfo.read_text(errors="surrogateescape").splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 6 or right.split(" ")[0] != "cgroup2" or fields[3] != "/":
            continue
        found = Path(_unescaped(fields[4]))  # the last one covers the earlier ones
    if found is None:
        raise CgroupNotFound("no cgroup v2 hierarchy is mounted: run 'mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified'")
    return found


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup: `path` as on the hierarchy ("/rubicon/ID"), `folder` as on this host's file system."""

    path: str
    folder: Path

    @classmethod
    def at(cls, path: str, root: Path | None = None) -> Cgroup:
        """The cgroup of a path on the hierarchy; it may not exist.

        Raises:
            CgroupNotFound: the path leaves the hierarchy, or there is none.
        """
        parts = [part for part in path.split("/") if part]
        if ".." in parts or "." in parts or "\0" in path:
            raise CgroupNotFound(
                f"cgroup path {path!r}: give an absolute path on the v2 hierarchy, without '.' and '..'"
            )
        return cls("/" + "/".join(parts), (root or mount()).joinpath(*parts))

    @property
    def exists(self) -> bool:
        """It is there now."""
        return (self.folder / "cgroup.procs").exists()

    @property
    def id(self) -> int:
        """Its id.

        Raises:
            CgroupNotFound: it is not there.
        """
        try:
            return self.folder.stat().st_ino
        except (FileNotFoundError, NotADirectoryError):
            raise CgroupNotFound(f"no cgroup {self.path} on the v2 hierarchy") from None

    def make(self) -> None:
        """Create it, its parents too; nothing happens when it is there.

        Raises:
            CgroupNotFound: the kernel refuses.
        """
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise CgroupNotFound(f"cgroup {self.path} cannot be made: {error.strerror}") from error

    def remove(self) -> bool:
        """Remove it and the cgroups below it; False when a process still lives in one (they stay, as far as needed)."""
        for folder in sorted(self._folders(), key=lambda each: len(each.parts), reverse=True):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                    return False
                raise
        return True

    def move(self, pid: int) -> None:
        """Move a process (all its threads) in.

        Raises:
            ProcessNotFound: it ended.
            CgroupNotFound: the kernel refuses the move.
        """
        try:
            _write(self.folder / "cgroup.procs", str(pid))
        except ProcessLookupError:
            raise ProcessNotFound(f"process {pid} ended before it could be moved to its cgroup") from None
        except OSError as error:
            raise CgroupNotFound(f"process {pid} cannot be moved to cgroup {self.path}: {error.strerror}") from error

    def kill(self) -> bool:
        """SIGKILL everything in it and below, by the kernel (5.14); False when this kernel or this cgroup cannot."""
        try:
            _write(self.folder / "cgroup.kill", "1")
        except OSError:
            return False
        return True

    def freeze(self) -> bool:
        """Stop everything in it and whatever is born in it (5.2); False when the kernel cannot."""
        try:
            _write(self.folder / "cgroup.freeze", "1")
        except OSError:
            return False
        return True

    def thaw(self) -> bool:
        """Let everything in it run again; False when it is gone or the kernel cannot."""
        try:
            _write(self.folder / "cgroup.freeze", "0")
        except OSError:
            return False
        return True

    @property
    def frozen(self) -> bool:
        """Everything in it has stopped."""
        try:
            return "frozen 1" in (self.folder / "cgroup.events").read_text().splitlines()
        except OSError:
            return False

    def processes(self) -> set[int]:
        """Pids in it and below, no zombies; empty when it is gone. A pid that cannot be seen from here reads as 0."""
        pids: set[int] = set()
        for folder in self._folders():
            # EOPNOTSUPP: a threaded cgroup; its processes are listed in its domain, which is in here as well
            with contextlib.suppress(OSError):
                pids.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        return pids

    def ids(self) -> set[int]:
        """Ids of it and of the cgroups below it."""
        found = set()
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                found.add(folder.stat().st_ino)
        return found

    def limited(self) -> bool:
        """A controller acts here, so that a process that leaves would escape its limits."""
        if self.path == "/":
            return False  # what the root lists is only what there is to enable
        try:
            return bool((self.folder / "cgroup.controllers").read_text().strip())
        except OSError:
            return False

    def _folders(self) -> Iterator[Path]:
        for folder, _, _ in os.walk(self.folder):
            yield Path(folder)


def of_process(pid: int) -> Cgroup:
    """The v2 cgroup of a process.

    Raises:
        ProcessNotFound: it ended.
        CgroupNotFound: there is no v2 hierarchy, or its cgroup was removed.
    """
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessNotFound(f"process {pid} does not exist") from None
    for line in text.splitlines():
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            return Cgroup.at(path)
    raise CgroupNotFound("this kernel has no cgroup v2 hierarchy")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
