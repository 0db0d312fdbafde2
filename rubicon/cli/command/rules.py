"""rules."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.framework import View, reading
from rubicon.cli.render import shapes
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.rule import Rule
from rubicon.client.sync import Client


def _table(output: Output, rules: Iterable[Rule]) -> None:
    def row(rule: Rule) -> list[Part]:
        held = f"{rule.waiting} ({rule.held_back} so far)" if rule.held_back else "0"
        return [
            (safe(rule.detector) or "any", "bold"),
            (" ".join(f"{safe(key)}={safe(value)}" for key, value in sorted(rule.labels.items())) or "-", "dim"),
            (rule.min_severity, ""),
            (rule.action, "bold"),
            (rule.mode, "yellow" if rule.mode == "monitor" else "green"),
            (str(rule.max_agents_per_minute), ""),
            (held, "bold red" if rule.waiting else ""),
        ]

    columns = ("DETECTOR", "LABELS", "FROM", "ACTION", "MODE", "AGENTS/MINUTE", "WAITING")
    output.table(columns, map(row, rules))


@reading(View(json=lambda rule: [shapes.rule(rule)], human=_table))
@click.option("--reload", is_flag=True, help="Have the settings file read again first (root only).")
def rules(client: Client, reload: bool) -> Iterable[Rule]:
    """List the rules in force: which alert is answered with what, the first that fits decides.

    They stand in /etc/rubicon/rubicon.yaml. With --reload what the file says now comes into force; where something in
    it cannot be, that is said and nothing changes. What waited its turn by a rule that is gone is let go.
    """
    return client.reload_rules() if reload else client.rules()


COMMAND = rules
