"""audit list."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import click

from rubicon.cli import words
from rubicon.cli.audit.shape import local, record, result
from rubicon.cli.framework import View, agent_names, reading, since_option
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.audit import AuditRecord
from rubicon.client.sync import Client


def _table(output: Output, records: Iterable[AuditRecord]) -> None:
    def row(one: AuditRecord) -> list[Part]:
        return [
            (str(one.sequence), "dim"),
            (local(one), ""),
            (safe(one.identity), ""),
            (safe(one.action), "bold"),
            (safe(one.target), ""),
            result(one),
            (safe(one.reason), "dim"),
        ]

    output.table(("NUMBER", "TIME", "WHO", "ACTION", "TARGET", "RESULT", "WHY"), map(row, records))


@reading(View(json=lambda one: [record(one)], human=_table))
@click.argument("agent", required=False, default="", shell_complete=agent_names)
@click.option("--action", default="", help="Only kill, freeze, isolate, release, create, enrol, finish, …")
@click.option("--identity", default="", help="Only of who begins like this, e.g. 'uid 1000 ' or 'policy'.")
@click.option("--alert", default="", metavar="ID", help="Only what this alert made.")
@click.option("--response", default="", metavar="ID", help="Only what belongs to this response.")
@since_option
@click.option(
    "--until", callback=words.option(words.moment), metavar="TIME", help="Before: 30s, 10m, 2h, 1d ago, or ISO."
)
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="The newest N at most.")
def list_(
    client: Client,
    agent: str,
    action: str,
    identity: str,
    alert: str,
    response: str,
    since: object,
    until: object,
    number: int | None,
) -> Iterable[AuditRecord]:
    """List records about AGENT, or all, newest first. An action that began has two: asked for, and what became of it."""
    found = client.audit.list(
        agent,
        action=action,
        identity=identity,
        alert_id=alert,
        response_id=response,
        since=since,  # type: ignore[arg-type]
        until=until,  # type: ignore[arg-type]
    )
    return islice(found, number)


COMMAND = list_
