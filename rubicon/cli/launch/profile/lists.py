"""What the launch profile takes away. The only place that says so: the filter of `rubicon run`, the OCI files in
deploy/profile and what `--profile show` prints are all made of these lists.

Numbers are the kernel's (include/uapi/linux/capability.h, include/linux/socket.h); they are the same on every machine.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple


class Capability(NamedTuple):
    """A capability that leaves all sets; `why` says what it would be good for."""

    name: str
    number: int
    why: str


class Call(NamedTuple):
    """A system call that is refused, whatever its arguments."""

    name: str
    errno: int
    why: str


class Family(NamedTuple):
    """A socket family that stays."""

    name: str
    number: int


class Condition(NamedTuple):
    """Of a socket family, unsigned, in all the 64 bits that a filter sees: LT, EQ or GT a number."""

    comparison: str
    number: int


DROPPED = (
    Capability(
        "CAP_NET_ADMIN", 12, "a TUN device, a tunnel or a route: traffic of no socket, which passes no cgroup hook"
    ),
    Capability("CAP_NET_RAW", 13, "raw and packet sockets: traffic that passes no cgroup hook"),
    Capability("CAP_SYS_MODULE", 16, "kernel modules"),
    Capability("CAP_SYS_RAWIO", 17, "memory and I/O ports of the machine, a network card's among them"),
    Capability("CAP_SYS_PTRACE", 19, "tracing processes that have more rights, the sensor among them"),
    Capability("CAP_SYS_ADMIN", 21, "mounts, namespaces of others, BPF on older kernels"),
    Capability("CAP_SYS_BOOT", 22, "a reboot, which ends every isolation"),
    Capability(
        "CAP_SYS_RESOURCE", 24, "limits beyond its own, and the reserve of file systems that the daemons write to"
    ),
    Capability("CAP_SYS_TIME", 25, "the clock that records are told by"),
    Capability("CAP_PERFMON", 38, "tracing the kernel"),
    Capability("CAP_BPF", 39, "loading BPF, and changing the maps of those who did"),
)

REFUSED = (
    Call("bpf", errno.EPERM, "maps and links are Rubicon's; as without the right to it"),
    Call("perf_event_open", errno.EPERM, "as without the right to it"),
    Call("io_uring_setup", errno.ENOSYS, "its SOCKET operation goes round the filter of socket()"),
    Call("io_uring_enter", errno.ENOSYS, "a ring that somebody else made and passed on"),
    Call("io_uring_register", errno.ENOSYS, "a ring that somebody else made and passed on"),
)

FAMILIES = (Family("AF_UNIX", 1), Family("AF_INET", 2), Family("AF_INET6", 10), Family("AF_NETLINK", 16))
SOCKET_CALLS = ("socket", "socketpair")
OTHER_FAMILIES = errno.EAFNOSUPPORT
"""What a kernel without the family answers: programs that try one go on without it. EPERM would read "ask for rights"."""

CONTAINER = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What a container keeps: Docker's own default set without CAP_NET_RAW."""


def refused_families() -> Iterator[Condition]:
    """Conditions of which one is true for every family but those in FAMILIES.

    Together they cover all 64 bits. The kernel reads 32 of them: a list of what is refused would be passed by a number
    that looks like none of it and is cut to one that is.
    """
    kept = sorted(family.number for family in FAMILIES)
    yield Condition("LT", kept[0])
    for number in range(kept[0] + 1, kept[-1]):
        if number not in kept:
            yield Condition("EQ", number)
    yield Condition("GT", kept[-1])
