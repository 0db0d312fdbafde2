"""audit."""

from __future__ import annotations

import importlib

import click

_COMMANDS = ("list", "show", "verify", "export")


class _Group(click.Group):
    """Its commands are rubicon/cli/audit/NAME.py, loaded when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In our order."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rubicon.cli.audit.{cmd_name}").COMMAND
        return command


@click.group("audit", cls=_Group)
def audit() -> None:
    """See who did what to which agent, and why; check that nobody changed that record, and take it away."""


COMMAND = audit
