"""The commands, in the order in which `rubicon --help` lists them. Each is command/NAME.py, loaded when it is used."""

from __future__ import annotations

import importlib

import click

COMMANDS = (
    "run",
    "up",
    "down",
    "ps",
    "tree",
    "events",
    "alerts",
    "kill",
    "coverage",
    "doctor",
    "logs",
    "version",
    "completion",
)


class Commands(click.Group):
    """A group whose commands are loaded when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In our order, not the alphabet's."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rubicon.cli.command.{cmd_name}").COMMAND
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is no command gets a hint."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"to watch it, use 'rubicon run -- {args[0]} …'"
            ctx.fail(f"no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)
