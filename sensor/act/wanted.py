"""Which sockets are to be destroyed, said to a kernel that does not find them itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sockets, for a kernel that must be told."""

    cookies: Collection[int] = ()
    """Of those that processes hold."""
    cgroups: dict[int, Callable[[str, int], bool]] = field(default_factory=dict)
    """Whose sockets go as well, by the cgroup that made them: closed ones that still have something to send, and those that
    wait to be accepted or are on their way from one process to another, are in no file table. With each, where a socket may
    lead: address and port of its other end."""
