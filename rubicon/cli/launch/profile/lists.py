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


class Argument(NamedTuple):
    """Of a call's argument, counted from 0: NE a number, or MASKED_EQ it in the bits of a mask."""

    place: int
    comparison: str
    number: int
    mask: int = 0


class Call(NamedTuple):
    """A system call that is refused, whatever its arguments, or where all of `where` is true of them."""

    name: str
    errno: int
    why: str
    where: tuple[Argument, ...] = ()
    what: str = ""
    """In words which of these calls, where not all of them are."""

    @property
    def title(self) -> str:
        """How it is shown."""
        return f"{self.name} {self.what}".strip()


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
    Capability("CAP_MKNOD", 27, "a device node of its own for the disk that holds the daemons' key"),
    Capability("CAP_PERFMON", 38, "tracing the kernel"),
    Capability("CAP_BPF", 39, "loading BPF, and changing the maps of those who did"),
)

_NEWCGROUP = 0x02000000


def _bits(index: int, number: int, mask: int) -> tuple[Argument, ...]:
    return (Argument(index, "MASKED_EQ", number, mask),)


def _ioctl(number: int, what: str, why: str) -> Call:
    # the kernel reads 32 bits of the number: the upper ones are no way round
    return Call("ioctl", errno.EPERM, why, _bits(1, number, 0xFFFFFFFF), what)


REFUSED = (
    Call("bpf", errno.EPERM, "maps and links are Rubicon's; as without the right to it"),
    Call("perf_event_open", errno.EPERM, "as without the right to it"),
    Call("io_uring_setup", errno.ENOSYS, "its SOCKET operation goes round the filter of socket()"),
    Call("io_uring_enter", errno.ENOSYS, "a ring that somebody else made and passed on"),
    Call("io_uring_register", errno.ENOSYS, "a ring that somebody else made and passed on"),
    Call("clone3", errno.ENOSYS, "its flags lie where no filter can read them; the C library goes on with clone"),
    *(
        Call(
            name,
            errno.EPERM,
            "a hierarchy of cgroups mounted anew, in a user namespace: the own cgroup left, strangers frozen",
            _bits(0, _NEWCGROUP, _NEWCGROUP),
            "CLONE_NEWCGROUP",
        )
        for name in ("clone", "unshare")
    ),
    Call("open_by_handle_at", errno.EPERM, "any file by its number, whatever lies over its path"),
    Call("request_key", errno.EPERM, "has the kernel run a program, as root and outside the tree"),
    Call(
        "prlimit64",
        errno.EPERM,
        "a limit of the sensor's, by which it would end",
        (Argument(0, "NE", 0), Argument(2, "NE", 0)),
        "of another process",
    ),
    _ioctl(0x5412, "TIOCSTI", "typing a command into the shell that it was started from"),
    _ioctl(0x541C, "TIOCLINUX", "the same on a console, by copy and paste"),
    _ioctl(0x50009401, "BTRFS_IOC_SNAP_CREATE", "a snapshot, in which nothing is covered"),
    _ioctl(0x50009417, "BTRFS_IOC_SNAP_CREATE_V2", "a snapshot, in which nothing is covered"),
)

FAMILIES = (Family("AF_UNIX", 1), Family("AF_INET", 2), Family("AF_INET6", 10), Family("AF_NETLINK", 16))
SOCKET_CALLS = ("socket", "socketpair")
OTHER_FAMILIES = errno.EAFNOSUPPORT
"""What a kernel without the family answers: programs that try one go on without it. EPERM would read "ask for rights"."""

KERNEL_FILES = {
    kind: why
    for kinds, why in (
        (("cgroup", "cgroup2"), "leaving the own cgroup, and freezing strangers"),
        (("sysfs", "configfs", "efivarfs", "resctrl"), "devices, power, firmware"),
        (("debugfs", "tracefs", "pstore"), "tracing the kernel"),
        (("securityfs", "binfmt_misc"), "policies, and interpreters of programs, that hold for everybody"),
    )
    for kind in kinds
}
"""File systems that are the kernel's switches, by type. They are mounted read-only; for who only reads nothing changes."""

PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "dynamic_debug")
"""What in /proc is read-only where CMD is root's, as container runtimes have it. Elsewhere file permissions keep it, and
nothing is covered: with a covered /proc the kernel refuses a new one in a user namespace, which sandboxes need."""

MEMORY = (1, 2, 4)
"""Minors of character major 1: mem, kmem, port."""

DRIVERS = {
    driver: why
    for drivers, why in (
        (
            ("sg", "bsg", "nvme", "nvme-generic", "mpt2ctl", "mpt3ctl", "raw", "mtd", "device-mapper", "dax", "zfs"),
            "a disk, round its block device",
        ),
        (
            ("cpu/msr", "nvram", "mei", "ipmidev", "vfio", "vfio-dev", "iommu", "uio", "snapshot"),
            "the machine below the kernel",
        ),
        (("watchdog",), "a reboot, by opening it and not writing"),
        (("uinput", "uhid", "input"), "typing a command where somebody else is at work"),
    )
    for driver in drivers
}
"""Character devices that cannot be opened, by their driver's name in /proc/devices and /proc/misc. So is every block device."""

CONTAINER = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""What a container keeps: Docker's own default set without CAP_NET_RAW and CAP_MKNOD."""


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
