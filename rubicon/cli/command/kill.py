"""kill."""

from __future__ import annotations

import click

from rubicon.cli.framework import Verdict
from rubicon.cli.respond.ask import carry_out
from rubicon.cli.respond.options import Order, force_option, targets
from rubicon.cli.respond.whom import Chosen


@click.command("kill")
@targets
@force_option
def kill(
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
    force: bool,
) -> Verdict:
    """End every process of each TARGET, and return when the kernel says that none is left.

    TARGET is an agent (id, unique id prefix or name) or one of an agent's processes with its descendants: PID,
    pid:PID, or PID@START with the start time that 'tree --json' shows, so that a reused pid is no danger.

    Nothing else is ever killed: not pid 1, not the sensor, and the caller itself only with --force. When something is
    left (in D state, say) it is listed, stays condemned, and the exit status is 6.
    """
    choice = Chosen(target, processes, labels, host, everyone, yes)
    return carry_out(Order("kill", reason, force, dry_run), choice, local=local, as_json=as_json)


COMMAND = kill
