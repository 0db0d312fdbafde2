"""responses."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.framework import View, agent_names, reading, since_option
from rubicon.cli.render import shapes
from rubicon.cli.render.output import Output
from rubicon.cli.respond.show import line
from rubicon.client.records.response import Response
from rubicon.client.sync import Client


def _lines(output: Output, responses: Iterable[Response]) -> None:
    for response in responses:
        line(output, response)


@reading(View(json=lambda response: [shapes.response(response)], human=_lines))
@click.argument("agent", required=False, default="", shell_complete=agent_names)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on with responses as they are requested, applied, and verified or failed, until AGENT ends.",
)
@since_option
def responses(client: Client, agent: str, follow: bool, since: object) -> Iterable[Response]:
    """List what was done to AGENT, or to all agents, by whom and why; oldest first."""
    found = client.watch_responses(agent, existing=True) if follow else reversed([*client.responses(agent)])
    return (each for each in found if since is None or (each.requested_at and each.requested_at >= since))  # type: ignore[operator]


COMMAND = responses
