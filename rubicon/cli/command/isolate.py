"""isolate."""

from __future__ import annotations

from collections.abc import Callable

import click

from rubicon.cli.respond.options import force_option, targets, ttl_option
from rubicon.cli.respond.order import Order


@targets
@ttl_option
@force_option
@click.option("--allow", multiple=True, metavar="CIDR[:PORT]", help="Stays reachable; [CIDR]:PORT for IPv6. Repeat it.")
@click.option("--allow-loopback", is_flag=True, help="Loopback addresses stay reachable.")
@click.option("--unix", is_flag=True, help="Refuse AF_UNIX connects and datagrams too, where the kernel can.")
@click.option("--strict", is_flag=True, help="Kill holders of sockets that no hook governs (packet, vsock …).")
def isolate(
    order: Callable[..., Order],
    ttl: float | None,
    force: bool,
    allow: tuple[str, ...],
    allow_loopback: bool,
    unix: bool,
    strict: bool,
) -> Order:
    """Take the network from each TARGET: new flows are refused, open ones dropped and cut.

    A process (--process) with its descendants, or the whole agent; the rest of the agent could do its errands.

    It stays so while plane and sensor are dead; 'release' gives the network back, but not the connections. Sockets
    that no hook governs are reported (exit status 6), or their holders killed with --strict.
    """
    isolation = {"allow": list(allow), "allow_loopback": allow_loopback, "unix": unix, "strict": strict}
    return order(ttl=ttl, force=force, isolation=isolation)


COMMAND = isolate
