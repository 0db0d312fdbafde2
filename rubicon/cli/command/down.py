"""down."""

from __future__ import annotations

import click

from rubicon.cli.daemons import stop
from rubicon.cli.render.safe import safe
from rubicon.v1.instance import Instance


@click.command("down")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, even when agents live.")
def down(yes: bool) -> None:
    """Stop plane and sensor, and leave nothing mounted, pinned or attached.

    Living agents go on, unwatched; they are named first, and you are asked. What was recorded stays on disk.
    """
    instance = Instance.current()
    agents = stop.living(instance)
    if agents:
        names = ", ".join(safe(str(agent["name"])) for agent in agents)
        click.echo(f"{len(agents)} agents live and will go on unwatched: {names}", err=True)
        for word in ("frozen", "isolated"):
            held = [agent for agent in agents if agent.get(word) or (word == "frozen" and agent.get("stopped"))]
            contained = ", ".join(safe(str(agent["name"])) for agent in held)
            if contained:
                click.echo(f"{word} now, and let go by this: {contained}", err=True)
        if not yes:
            click.confirm("Take Rubicon down?", abort=True, err=True)
    click.echo("plane and sensor are down" if stop.down(instance) else "nothing ran; what was left was removed")


COMMAND = down
