"""coverage."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.framework import View, reading
from rubicon.cli.render import shapes
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.coverage import Coverage
from rubicon.client.sync import Client

_STATES = {"full": "green", "partial": "yellow", "missing": "bold red"}


def _tables(output: Output, hosts: Iterable[Coverage]) -> None:
    for host in hosts:
        connected = "connected" if host.connected else "NOT connected"
        output.line([(safe(host.host), "bold"), (f"  kernel {safe(host.kernel)}, {host.loader}, {connected}", "dim")])
        rows: list[list[Part]] = [
            [
                (safe(fact.fact), "bold"),
                (fact.state, _STATES.get(fact.state, "")),
                (safe(fact.mechanism), ""),
                (safe(fact.hook), "dim"),
                ("dies" if fact.dies_with_sensor else "stays", "dim"),
                (safe(fact.missing), "yellow" if fact.state != "full" else "dim"),
            ]
            for fact in host.facts
        ]
        output.table(("FACT", "STATE", "BY", "HOOK", "WITHOUT SENSOR", "NOT SEEN"), rows)


@reading(View(json=shapes.coverage, human=_tables))
@click.option("--host", default="", help="Only this host.")
def coverage(client: Client, host: str) -> Iterable[Coverage]:
    """Show which facts each host really sees, by which hook, and what it therefore cannot see."""
    return client.coverage(host)


COMMAND = coverage
