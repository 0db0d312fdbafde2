"""version."""

from __future__ import annotations

import importlib.metadata
import platform

import click

from rubicon.cli.framework import json_option
from rubicon.cli.render.output import Output
from rubicon.client.errors import RubiconError
from rubicon.client.local import LocalSocket


@click.command("version")
@json_option
def version(as_json: bool) -> None:
    """Show the versions of this command and of the sensor that runs, if one does."""
    value = {"version": importlib.metadata.version("rubicon"), "python": platform.python_version(), "sensor": None}
    try:
        value["sensor"] = LocalSocket().call("status", timeout=3)["version"]
    except RubiconError as error:
        note = error.message
    else:
        note = f"sensor {value['sensor']}"
    output = Output()
    if as_json:
        output.json(dict(value))
    else:
        output.text(f"rubicon {value['version']}, Python {value['python']}, {note}")


COMMAND = version
