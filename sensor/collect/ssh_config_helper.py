"""Reads one SSH client's configuration inside an agent's root, as nobody, and says which remote forwards it asks for.

A program of its own: `python -I -S ssh_config_helper.py`, started by the sensor as root, a request on stdin, an
answer on stdout (one JSON object each), a folder descriptor of the agent's root inherited. What it reads is written
by the agent, so before it reads anything it gives up everything: user and group nobody, no capabilities, the agent's
own uid only for file access (setfsuid(2)), no sockets, no exec, no fork, little memory and time. Whoever runs as the
agent's user can neither signal nor trace it. It imports all that it needs while it still may.
"""

from __future__ import annotations

import ctypes
import errno
import getpass
import importlib
import json
import os
import posixpath
import resource
import struct
import sys
import types
from typing import Any

NOBODY = 65534
_libc = ctypes.CDLL(None, use_errno=True)


def parser(library: str) -> Any:
    """paramiko's SSHConfig from a folder, without the rest of the package (its import takes 150 ms and 40 MB)."""
    package = types.ModuleType("paramiko")
    package.__path__ = [posixpath.join(library, "paramiko")]
    sys.modules["paramiko"] = package
    config = importlib.import_module("paramiko.config")
    # Match exec never reaches it; if it did, this would fail instead of running anything
    config.invoke = None  # type: ignore[attr-defined]
    return config.SSHConfig


def limit() -> None:
    """Two seconds of processor, 256 MB, no new processes, nothing written; an ordinary process, unlike the sensor."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    for name, most in (
        (resource.RLIMIT_CPU, 2),
        (resource.RLIMIT_AS, 256 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (most, most))


def drop(uid: int, gid: int, groups: list[int]) -> None:
    """Become nobody, with the agent's uid, gid and groups for file access only, and no capability.

    Raises:
        OSError: the kernel refused; nothing may be read then.
    """
    _prctl(8, 1)  # PR_SET_KEEPCAPS
    os.setgroups(groups)
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    setid = 1 << 6 | 1 << 7  # CAP_SETGID, CAP_SETUID
    _capset(setid)
    _libc.setfsgid(ctypes.c_uint(gid))
    _libc.setfsuid(ctypes.c_uint(uid))
    _capset(0)
    # with an id that cannot be, both calls change nothing and return what is in force
    if (
        _libc.setfsuid(ctypes.c_uint(0xFFFFFFFF)) & 0xFFFFFFFF != uid
        or _libc.setfsgid(ctypes.c_uint(0xFFFFFFFF)) & 0xFFFFFFFF != gid
    ):
        raise OSError(errno.EPERM, "could not take the agent's uid for file access")
    _prctl(4, 0)  # PR_SET_DUMPABLE: nobody traces it
    _prctl(1, 9)  # PR_SET_PDEATHSIG: it does not outlive the sensor
    _prctl(38, 1)  # PR_SET_NO_NEW_PRIVS


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _capset(low: int) -> None:
    header = struct.pack("<Ii", 0x20080522, 0)
    sets = struct.pack("<6I", low, low, 0, 0, 0, 0)
    if _libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


_REFUSED = {
    "x86_64": (0xC000003E, (41, 42, 56, 57, 58, 59, 62, 101, 200, 234, 310, 311, 322, 425, 434, 435)),
    "aarch64": (0xC00000B7, (198, 203, 220, 221, 117, 129, 130, 131, 270, 271, 281, 425, 434, 435)),
}
"""AUDIT_ARCH; socket, connect, clone, fork, vfork, execve, kill, ptrace, tkill, tgkill, process_vm_*, execveat,
io_uring_setup, pidfd_open, clone3."""


def confine() -> None:
    """Refuse with EPERM what a parser never needs; other architectures of the machine kill."""
    machine = os.uname().machine
    if machine not in _REFUSED:
        return
    arch, numbers = _REFUSED[machine]
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, arch), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]
    if machine == "x86_64":
        code += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x80000000)]  # x32
    for number in numbers:
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.EPERM)]
    code.append((0x06, 0, 0, 0x7FFF0000))
    filters = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(filters)
    program = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
    if _libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def main() -> None:
    """One request, one answer."""
    request = json.load(sys.stdin.buffer)
    config_class = parser(request["library"])
    sys.path.append(request["here"])
    answer = importlib.import_module("sensor.collect.ssh_config_read").answer
    os.environ["LOGNAME"] = "nobody"
    getpass.getuser()
    limit()
    if os.geteuid() == 0:
        drop(request["uid"], request["gid"], request["groups"])
        confine()
    try:
        reply = answer(request, config_class)
    except Exception as error:  # noqa: BLE001  # whatever the agent wrote, the sensor gets an answer
        reply = {"error": f"{type(error).__name__}: {error}"[:512]}
    sys.stdout.write(json.dumps(reply))


if __name__ == "__main__":
    main()
