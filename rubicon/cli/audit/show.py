"""audit show."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from rubicon.cli.audit.shape import local, record, result
from rubicon.cli.framework import View, reading
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.client.errors import NotFound
from rubicon.client.records.audit import AuditRecord
from rubicon.client.sync import Client


def _blocks(output: Output, records: Iterable[AuditRecord]) -> None:
    for one in records:
        words, style = result(one)
        output.line([(f"{one.sequence}  {local(one)}  ", "bold"), (safe(one.action), "bold"), (f"  {words}", style)])
        for name, value in (
            ("who", one.identity),
            ("target", one.target),
            ("agent", one.agent_id),
            ("reason", one.reason),
            ("alert", one.alert_id),
            ("response", one.response_id),
            ("detail", one.detail),
            ("hash", one.hash),
        ):
            if value:
                output.wrapped([(f"  {name:<9}", "dim"), (safe(value), "")])
        if one.phase == "requested" and not one.related and not one.response_id:
            output.wrapped([("  no result: it is under way, or the plane ended before it was known", "yellow")])


@reading(View(json=lambda one: [record(one)], human=_blocks))
@click.argument("id_", metavar="ID")
def show(client: Client, id_: str) -> Iterable[AuditRecord]:
    """Show a record by its number, with its request or its results; or all that belong to a response or an alert."""
    if re.fullmatch(r"[0-9]{1,15}", id_, re.ASCII):
        one = client.audit.get(int(id_))
        return sorted([one, *one.related], key=lambda each: each.sequence)
    if not re.fullmatch(r"[0-9a-f]{16}", id_):
        raise click.BadParameter("give a record's number, or the 16 hex digits of a response or an alert")
    found = {
        one.sequence: one
        for one in (*client.audit.list(response_id=id_), *client.audit.list(alert_id=id_))
    }  # fmt: skip
    for request in {one.request for one in found.values() if one.request} - found.keys():
        found[request] = client.audit.get(request)
    if not found:
        raise NotFound(f"no audit record belongs to {id_}")
    return [found[place] for place in sorted(found)]


COMMAND = show
