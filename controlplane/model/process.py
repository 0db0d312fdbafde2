"""A process of an agent's tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.model.keys import Boot, ProcessKey


class Credentials(NamedTuple):
    """Who a process is, in the initial user namespace."""

    uid: int
    euid: int
    gid: int
    egid: int
    capabilities: int


class Namespaces(NamedTuple):
    """Inode numbers of a process's namespaces."""

    pid: int
    net: int
    mnt: int
    user: int


class Descriptor(NamedTuple):
    """What one of the descriptors 0, 1, 2 was at the exec: a DescriptorKind, and for sockets family and cookie."""

    kind: int
    inode: int
    family: int
    cookie: int


@dataclass(frozen=True, slots=True)
class Image:
    """What a process runs: one exec (or what /proc showed at enrolment). Shared by the children until they exec."""

    time_ns: int = 0
    """Kernel time of the exec, ns since boot; 0 for the image that is not known."""
    exe: str = ""
    argv: tuple[bytes, ...] = ()
    argv_truncated: bool = False
    filename: str = ""
    interpreter: str = ""
    cwd: str = ""
    comm: str = ""
    inode: int = 0
    device: int = 0
    memfd: bool = False
    deleted: bool = False
    credentials: Credentials | None = None
    namespaces: Namespaces | None = None
    stdio: tuple[Descriptor, ...] = ()


UNKNOWN = Image()
"""Image of a process of which nothing but its existence was recorded."""


@dataclass(slots=True, eq=False)
class Process:
    """One process. Facts are merged by kernel time, so late and reordered records give the same result.

    `parent` is the parent as the kernel recorded it at fork, and reparenting later does not change it. `maker` is the
    process that called fork or clone; it differs from `parent` under CLONE_PARENT.
    """

    boot: Boot
    key: ProcessKey
    agent_id: str
    started_wall_ns: int
    parent: ProcessKey | None = None
    maker: ProcessKey | None = None
    parent_ns: int = 0
    """Kernel time at which `parent` was true."""
    up: ProcessKey | None = None
    """Who stands in for parent and maker after both have left memory."""
    forked_ns: int = 0
    """Kernel time of the fork record; 0 while none was seen (enrolled, or its fork was lost or is late)."""
    namespace_pid: int = 0
    inherited: Image | None = None
    """What /proc showed at enrolment, or what it had inherited when its maker left memory; None while that is looked
    up at the maker."""
    base: Image = UNKNOWN
    """What it ran before its first recorded exec."""
    images: list[Image] = field(default_factory=list)
    """Execs, oldest first, bounded: the newest are kept."""
    execs: int = 0
    """How many programs it has executed."""
    image: Image = UNKNOWN
    """What it runs now (inherited until its first exec)."""
    cgroup_id: int = 0
    cgroup_ns: int = 0
    """Kernel time at which cgroup_id was true."""
    container: str = ""
    ended_ns: int = 0
    """Kernel time of its end; 0 while it lives."""
    ended_wall_ns: int | None = None
    exited: bool = False
    """The end was recorded; False when it only follows from something else (pid reused, agent finished)."""
    status: int = 0
    signal: int = 0
    core_dumped: bool = False

    @property
    def alive(self) -> bool:
        """No end is known."""
        return self.ended_ns == 0

    @property
    def exe(self) -> str:
        """Path of what it runs, as the agent's mount namespace names it."""
        return self.image.exe

    @property
    def argv(self) -> tuple[bytes, ...]:
        """Arguments of what it runs."""
        return self.image.argv

    @property
    def cwd(self) -> str:
        """Working directory at the last exec."""
        return self.image.cwd

    @property
    def uid(self) -> int | None:
        """Real user id at the last exec, None when not known."""
        return self.image.credentials.uid if self.image.credentials else None
