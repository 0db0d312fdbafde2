"""What /proc says about one process: the same facts that an exec record carries.

Everything in there may be hostile: arguments are whatever the process wrote over them, names hold any byte, and the
process may end between two reads. So each read may fail alone, sizes are capped, and nothing is ever opened *through*
the process's own files."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from rubicon.v1 import event_pb2, process_pb2

ARGV_LIMIT = 16384
PATH_LIMIT = 1024
_TTY_MAJORS = frozenset((4, 5, *range(136, 144)))


def read_facts(pid: int, proc: str = "/proc") -> event_pb2.Exec:
    """As much as can be read; what cannot is left empty. Identity (is it still this process?) is the caller's business.

    May block for as long as the process wishes: its memory or its files can be on a file system that it serves itself.
    """
    facts = event_pb2.Exec()
    base = f"{proc}/{pid}"
    _status(base, facts)
    _paths(base, facts)
    _namespaces(base, facts)
    for number in range(3):
        _descriptor(base, number, facts.stdio.add())
    # Last, and the only one that reads the process's own memory.
    _arguments(base, facts)
    return facts


def text(raw: bytes) -> str:
    """Bytes of a path as a string that protobuf takes; what is not UTF-8 becomes a visible \\xNN."""
    return raw.decode("utf-8", "backslashreplace")


def _read(path: str, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < limit and (piece := os.read(fd, limit - len(data))):
            data += piece
        return data
    finally:
        os.close(fd)


def _arguments(base: str, facts: event_pb2.Exec) -> None:
    with suppress(OSError):
        data = _read(f"{base}/cmdline", ARGV_LIMIT + 1)
        kept = data[:ARGV_LIMIT]
        facts.argv_truncated = len(data) > ARGV_LIMIT
        facts.argv_length = len(data)
        if kept:
            facts.argv.extend((kept[:-1] if kept[-1] == 0 else kept).split(b"\0"))


def _status(base: str, facts: event_pb2.Exec) -> None:
    with suppress(OSError):
        # The kernel escapes newlines in Name, so a name cannot forge another line.
        for line in _read(f"{base}/status", 16384).split(b"\n"):
            key, _, value = line.partition(b":")
            with suppress(ValueError, IndexError):
                fields = value.split()
                if key == b"Name":
                    facts.comm = text(value.strip(b"\t"))[:64]
                elif key == b"Uid":
                    facts.credentials.uid, facts.credentials.euid = int(fields[0]), int(fields[1])
                elif key == b"Gid":
                    facts.credentials.gid, facts.credentials.egid = int(fields[0]), int(fields[1])
                elif key == b"CapEff":
                    facts.credentials.capabilities = int(fields[0], 16)


def _link(path: str) -> bytes:
    try:
        return os.readlink(path.encode())
    except OSError:
        return b""


def _paths(base: str, facts: event_pb2.Exec) -> None:
    exe, cwd = _link(f"{base}/exe"), _link(f"{base}/cwd")
    facts.memfd = exe.startswith(b"/memfd:")
    # A name may itself end in " (deleted)": no link in any folder says it for sure.
    with suppress(OSError):
        found = os.stat(f"{base}/exe")
        facts.inode, facts.device = found.st_ino, found.st_dev
        facts.deleted = found.st_nlink == 0
    if facts.deleted:
        exe = exe.removesuffix(b" (deleted)")
    facts.path_truncated = max(len(exe), len(cwd)) > PATH_LIMIT
    facts.exe = facts.filename = text(exe[:PATH_LIMIT])
    facts.cwd = text(cwd[:PATH_LIMIT])


def _namespaces(base: str, facts: event_pb2.Exec) -> None:
    for field, link in (("pid", "pid_for_children"), ("net", "net"), ("mnt", "mnt"), ("user", "user")):
        with suppress(ValueError):
            setattr(facts.namespaces, field, int(_link(f"{base}/ns/{link}").partition(b"[")[2].rstrip(b"]")))


def _descriptor(base: str, number: int, descriptor: process_pb2.Descriptor) -> None:
    path = f"{base}/fd/{number}"
    try:
        found = os.stat(path)
    except FileNotFoundError:
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_CLOSED
        return
    except OSError:
        return
    descriptor.inode = found.st_ino
    mode = found.st_mode
    if stat.S_ISSOCK(mode):
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_SOCKET
    elif stat.S_ISFIFO(mode):
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_PIPE
    elif stat.S_ISCHR(mode):
        tty = os.major(found.st_rdev) in _TTY_MAJORS
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_TTY if tty else process_pb2.DESCRIPTOR_KIND_DEVICE
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_FILE
    else:
        descriptor.kind = process_pb2.DESCRIPTOR_KIND_OTHER
