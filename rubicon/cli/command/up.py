"""up."""

from __future__ import annotations

import os

import click

from rubicon.cli.daemons import settings, start, supervisor
from rubicon.client.errors import PermissionDenied
from rubicon.v1.instance import Instance


@click.command("up")
@click.option(
    "--foreground", is_flag=True, help="Supervise in this process until SIGTERM (what the systemd unit does)."
)
def up(foreground: bool) -> None:
    """Start plane and sensor on this host, for many agents, and return when both are ready.

    They are supervised: a killed one is started again. Where they run already, nothing is done. 'rubicon down' stops
    them. What the plane does about alerts by itself stands in /etc/rubicon/rubicon.yaml; when that cannot be, nothing
    is started.
    """
    instance = Instance.current()
    if foreground:
        if os.geteuid():
            raise PermissionDenied("only root can start Rubicon", "use sudo")
        settings.check(instance)
        start.prepare(instance)
        supervisor.supervise(instance)
    else:
        started = start.ensure(instance)
        click.echo("plane and sensor are up" if started else "plane and sensor were up already")


COMMAND = up
