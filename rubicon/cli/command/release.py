"""release."""

from __future__ import annotations

import click

from rubicon.cli.framework import Verdict
from rubicon.cli.respond.ask import carry_out
from rubicon.cli.respond.options import Order, targets
from rubicon.cli.respond.whom import Chosen


@click.command("release")
@targets
def release(
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
) -> Verdict:
    """Undo freeze and isolate of each TARGET, a whole agent, and say what cannot be undone: connections stay cut."""
    choice = Chosen(target, processes, labels, host, everyone, yes)
    return carry_out(Order("release", reason, dry_run=dry_run), choice, local=local, as_json=as_json)


COMMAND = release
