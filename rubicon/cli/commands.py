"""The commands, in the order in which `rubicon --help` lists them. Each is command/NAME.py, loaded when it is used."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import click
from click.shell_completion import CompletionItem

COMMANDS = (
    "run",
    "up",
    "down",
    "ps",
    "tree",
    "events",
    "alerts",
    "kill",
    "freeze",
    "isolate",
    "release",
    "responses",
    "audit",
    "snapshot",
    "rules",
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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """`rubicon --help` and the shell's completion read what a command is for from its source, and load none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence(summary(name))) for name in COMMANDS])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands; options where the word begins like one."""
        found = [
            CompletionItem(name, help=command.get_short_help_str())
            for name, command in _unloaded().items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is no command gets a hint."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"to watch it, use 'rubicon run -- {args[0]} …'"
            hint = "use 'rubicon --help', or 'rubicon COMMAND --help'" if args[0] == "help" else hint
            ctx.fail(f"no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)


def _unloaded() -> dict[str, click.Command]:
    return {name: click.Command(name, help=summary(name)) for name in COMMANDS}


def sentence(text: str) -> str:
    """The first one of a help text, without its full stop, in one line."""
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def summary(name: str) -> str:
    """The docstring of a command's function, which is its help."""
    source = Path(__file__).parent / "command" / f"{name}.py"
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
    raise LookupError(f"{source} has no function {name}")
