"""Cutting what an isolated agent may not have: its sockets are destroyed, inside the network namespace that each is in.

The peer sees a reset, the holder an error, and what waits in a socket leaves with nobody. The kernel finds them itself
(bpf/destroy.bpf.c) and asks its own verdict; where it cannot, inet_diag does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from sensor.act.namespaces import inside_each
from sensor.act.wanted import Wanted

if TYPE_CHECKING:
    from sensor.kernel.loader import Kernel


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
