"""ps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from rubicon.cli.framework import View, reading
from rubicon.cli.render import shapes
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.cli.words import label_option
from rubicon.client.agents import Agent
from rubicon.client.sync import Client

_STATES = {"running": "green", "killed": "bold red", "pending": "yellow"}


def ago(when: datetime | None) -> str:
    """How long ago, for people."""
    if when is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - when).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _table(output: Output, agents: Iterable[Agent]) -> None:
    def row(agent: Agent) -> list[Part]:
        alerts = str(agent.alert_count) + (f" (lost {agent.lost})" if agent.lost else "")
        contained = [word for word, so in (("frozen", agent.frozen), ("isolated", agent.isolated)) if so]
        state = f"{agent.state} ({', '.join(contained)})" if contained else agent.state
        labels = " ".join(f"{safe(key)}={safe(value)}" for key, value in sorted(agent.labels.items()))
        return [
            (agent.id, "dim"),
            (safe(agent.name), "bold"),
            (state, "bold yellow" if contained else _STATES.get(agent.state, "dim")),
            (ago(agent.started_at), ""),
            (f"{agent.process_count}/{agent.process_total}", ""),
            (alerts, "bold red" if agent.alert_count else ""),
            (safe(agent.host), ""),
            (labels, "dim"),
        ]

    columns = ("ID", "NAME", "STATE", "AGE", "PROCESSES", "ALERTS", "HOST", "LABELS")
    output.table(columns, map(row, agents))


@reading(View(json=lambda agent: [shapes.agent(agent)], human=_table))
@click.option("-a", "--all", "everyone", is_flag=True, help="Also agents that have ended.")
@label_option("Only agents that carry this label.")
def ps(client: Client, everyone: bool, labels: dict[str, str]) -> Iterable[Agent]:
    """List agents, as docker ps lists containers; newest first."""
    return client.agents.list(all=everyone, labels=labels)


COMMAND = ps
