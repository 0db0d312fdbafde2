"""Cutting what an isolated agent may not have: its sockets are destroyed, inside the network namespace that each is in.

The peer sees a reset, the holder an error, and what waits in a socket leaves with nobody. The kernel finds them itself
(bpf/destroy.bpf.c) and asks its own verdict; where it cannot, inet_diag does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sensor.act.namespaces import inside_each

if TYPE_CHECKING:
    from sensor.kernel.loader import Kernel


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sockets, for a kernel that must be told."""

    cookies: Collection[int] = ()
    """Of those that processes hold."""
    cgroups: dict[int, Callable[[str, int], bool]] = field(default_factory=dict)
    """Whose sockets go as well, by the cgroup that made them: closed ones that still have something to send, and those that
    wait to be accepted or are on their way from one process to another, are in no file table. With each, where a socket may
    lead: address and port of its other end."""


def destroy(
    kernel: Kernel, wanted: Callable[[], Wanted], places: Collection[int] | None = None
) -> tuple[int, list[str]]:
    """Destroy TCP and UDP sockets; how many were, and in words what could not be.

    Args:
        wanted: asked only where the kernel does not find them itself.
        places: inodes of network namespaces; every one unless given.
    """
    if kernel.destroys_sockets:
        count, problems = inside_each(kernel.destroy_sockets, places)
    else:
        from sensor.act.diag import destroy_here

        asked = wanted()
        count, problems = inside_each(lambda: destroy_here(asked), places)
    return count, [f"connections are dropped, not cut: {problem}" for problem in problems]
