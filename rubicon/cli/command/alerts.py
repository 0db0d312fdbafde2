"""alerts."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.framework import View, agent_names, reading, secrets_option, since_option
from rubicon.cli.render import shapes
from rubicon.cli.render.lines import alert_block
from rubicon.cli.render.output import Output
from rubicon.client.records.alert import SEVERITIES, Alert
from rubicon.client.sync import Client


def _blocks(output: Output, alerts: Iterable[Alert]) -> None:
    for alert in alerts:
        first, *rest = alert_block(alert, output.icon)
        output.line(first)
        for line in rest:
            output.wrapped(line)


@reading(View(json=lambda alert: [shapes.alert(alert)], human=_blocks))
@click.argument("agent", required=False, default="", shell_complete=agent_names)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on with alerts as they happen, until AGENT ends; a changed one comes again.",
)
@click.option("--severity", type=click.Choice(SEVERITIES), default="info", help="Not below this one.")
@since_option
@secrets_option
def alerts(
    client: Client, agent: str, follow: bool, severity: str, since: object, show_secrets: bool
) -> Iterable[Alert]:
    """List alerts of AGENT, or of all agents, with their evidence; oldest first."""
    past = list(client.alerts.list(agent, min_severity=severity, since=since, show_secrets=show_secrets))  # type: ignore[arg-type]
    if not follow:
        return reversed(past)
    return _follow(client, agent, severity, since, show_secrets)


def _follow(client: Client, agent: str, severity: str, since: object, show_secrets: bool) -> Iterable[Alert]:
    for alert in client.alerts.watch(agent, min_severity=severity, existing=True, show_secrets=show_secrets):
        if since is None or alert.time >= since:  # type: ignore[operator]
            yield alert


COMMAND = alerts
