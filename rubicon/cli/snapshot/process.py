"""What /proc shows of one process. Read with root's rights; everything in it is the agent's word except ids and links."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from rubicon.cli.snapshot.environment import variables
from rubicon.cli.snapshot.sockets import Sockets

TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
MOST_BYTES = 4 * 1024 * 1024
"""Of one text file: argv and environment are at most 2 MB each."""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


class Gone(Exception):
    """The process has ended, or its pid is another's."""


def described(pid: int, start_time: int, *, show_secrets: bool) -> tuple[dict[str, Any], bytes]:
    """Facts of a process, and its memory map as the kernel prints it.

    Args:
        start_time: boot-time nanoseconds; /proc has it in ticks of 10 ms.

    Raises:
        Gone: see there.
    """
    folder = Path(f"/proc/{pid}")
    try:
        before = _started(folder)
        facts = {
            "pid": pid,
            "start_time": start_time,
            "argv": [word.decode(errors="backslashreplace") for word in _bytes(folder / "cmdline").split(b"\0")[:-1]],
            "environment": variables(_bytes(folder / "environ"), show_secrets=show_secrets),
            "exe": _link(folder / "exe"),
            "exe_sha256": _hash(folder / "exe"),
            "cwd": _link(folder / "cwd"),
            "root": _link(folder / "root"),
            "status": _status(folder),
            "cgroup": _bytes(folder / "cgroup").decode(errors="backslashreplace").splitlines(),
            "namespaces": {name: _link(folder / "ns" / name) for name in NAMESPACES},
            "descriptors": _descriptors(folder),
        }
        maps = _bytes(folder / "maps")
        if before != start_time // TICK_NS or _started(folder) != before:
            raise Gone(f"process {pid} ended while it was read")
    except (FileNotFoundError, ProcessLookupError):
        raise Gone(f"process {pid} has ended") from None
    return facts, maps


def _started(folder: Path) -> int:
    return int(_bytes(folder / "stat").rpartition(b")")[2].split()[19])


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def _link(path: Path) -> str:
    """Where it leads; empty for a process without (a kernel thread, one that is dying)."""
    with contextlib.suppress(OSError):
        return os.fsencode(os.readlink(path)).decode(errors="backslashreplace")
    return ""


def _hash(path: Path) -> str:
    """SHA-256 of the program, also of one that was deleted or lives in memory only."""
    digest = hashlib.sha256()
    with contextlib.suppress(OSError), path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
        return digest.hexdigest()
    return ""


def _status(folder: Path) -> dict[str, str]:
    """Credentials, capabilities, seccomp and threads, by the names of proc(5)."""
    wanted = (
        "Name",
        "State",
        "PPid",
        "Uid",
        "Gid",
        "Groups",
        "NSpid",
        "CapEff",
        "CapPrm",
        "CapBnd",
        "Seccomp",
        "NoNewPrivs",
    )
    pairs = (line.partition(":") for line in _bytes(folder / "status").decode(errors="backslashreplace").splitlines())
    return {name: " ".join(value.split()) for name, _, value in pairs if name in wanted}


def _descriptors(folder: Path) -> list[dict[str, Any]]:
    sockets = Sockets(folder / "net")
    found = []
    for each in sorted((folder / "fd").iterdir(), key=lambda path: int(path.name)):
        target = _link(each)
        entry: dict[str, Any] = {"fd": int(each.name), "target": target}
        with contextlib.suppress(OSError, ValueError):
            lines = _bytes(folder / "fdinfo" / each.name).decode().splitlines()
            entry |= {name: value.strip() for name, _, value in (line.partition(":") for line in lines[:2])}
        if target.startswith("socket:["):
            entry["socket"] = sockets.by_inode(int(target[8:-1]))
        found.append(entry)
    return found
