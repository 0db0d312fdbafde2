"""freeze."""

from __future__ import annotations

import click

from rubicon.cli.framework import Verdict
from rubicon.cli.respond.ask import carry_out
from rubicon.cli.respond.options import Order, force_option, targets, ttl_option
from rubicon.cli.respond.whom import Chosen


@click.command("freeze")
@targets
@ttl_option
@force_option
def freeze(
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
) -> Verdict:
    """Stop every process of each TARGET without its consent, and return when none runs; 'release' lets it go on.

    Targets as for 'kill'. A frozen agent can be killed. It stays frozen while plane and sensor are dead.
    """
    choice = Chosen(target, processes, labels, host, everyone, yes)
    return carry_out(Order("freeze", reason, force, dry_run, ttl), choice, local=local, as_json=as_json)


COMMAND = freeze
