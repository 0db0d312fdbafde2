"""isolate."""

from __future__ import annotations

import click

from rubicon.cli.framework import Verdict
from rubicon.cli.respond.ask import carry_out
from rubicon.cli.respond.options import Order, force_option, targets, ttl_option
from rubicon.cli.respond.whom import Chosen


@click.command("isolate")
@targets
@ttl_option
@force_option
@click.option("--allow", multiple=True, metavar="CIDR[:PORT]", help="Stays reachable; [CIDR]:PORT for IPv6. Repeat it.")
@click.option("--allow-loopback", is_flag=True, help="Loopback addresses stay reachable.")
@click.option("--unix", is_flag=True, help="Refuse AF_UNIX connects too, where the kernel can.")
@click.option("--strict", is_flag=True, help="Kill holders of sockets that no hook governs (packet, vsock …).")
def isolate(
    target: tuple[str, ...],
    processes: tuple[str, ...],
    labels: tuple[str, ...],
    host: str,
    everyone: bool,
    yes: bool,
    reason: str,
    dry_run: bool,
    local: bool,
    as_json: bool,
    ttl: float | None,
    force: bool,
    allow: tuple[str, ...],
    allow_loopback: bool,
    unix: bool,
    strict: bool,
) -> Verdict:
    """Take the network from each TARGET, a whole agent: new flows are refused, open ones dropped and cut.

    It stays so while plane and sensor are dead; 'release' gives the network back, but not the connections. Sockets
    that no hook governs are reported (exit status 6), or their holders killed with --strict.
    """
    choice = Chosen(target, processes, labels, host, everyone, yes)
    isolation = {"allow": list(allow), "allow_loopback": allow_loopback, "unix": unix, "strict": strict}
    order = Order("isolate", reason, force, dry_run, ttl, isolation)
    return carry_out(order, choice, local=local, as_json=as_json)


COMMAND = isolate
