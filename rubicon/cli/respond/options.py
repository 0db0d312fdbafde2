"""How one of the four is written: a function that names its own options, and makes an order of them.

    @targets
    @ttl_option
    def freeze(order: Callable[..., Order], ttl: float | None) -> Order:
        \"\"\"Stop every process …\"\"\"
        return order(ttl=ttl)

    COMMAND = freeze

The function's name is the action and its docstring the help; what all four have in common is added here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import click

from rubicon.cli import words
from rubicon.cli.framework import Verdict, agent_names, json_option
from rubicon.cli.respond.order import Order

ttl_option = click.option(
    "--ttl", callback=words.option(words.length), metavar="TIME", help="Ends by itself after this time."
)
force_option = click.option("--force", is_flag=True, help="Also when the target holds the caller itself.")
_COMMON = (
    click.argument("target", nargs=-1, shell_complete=agent_names),
    click.option("--process", "processes", multiple=True, metavar="PID[@START]", help="With its descendants."),
    words.label_option("Living agents with it."),
    click.option("--host", default="", metavar="HOST", help="Living agents of this host."),
    click.option("--all", "everyone", is_flag=True, help="Every living agent; asks first."),
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("--reason", default="", help="Why; it is kept with the response and in the audit."),
    click.option("--dry-run", is_flag=True, help="Only list whom it would touch."),
    click.option("--local", is_flag=True, help="Ask this host's sensor, not the plane: works while the plane is dead."),
    json_option,
)


def targets(function: Callable[..., Order]) -> click.Command:
    """Make a click command of it, with TARGET… and the other options that all four have."""

    def callback(
        target: tuple[str, ...],
        processes: tuple[str, ...],
        labels: Mapping[str, str],
        host: str,
        everyone: bool,
        yes: bool,
        reason: str,
        dry_run: bool,
        local: bool,
        as_json: bool,
        **own: Any,
    ) -> Verdict:
        from rubicon.cli.respond.ask import carry_out
        from rubicon.cli.respond.whom import Chosen

        order = function(functools.partial(Order, function.__name__, reason, dry_run), **own)
        choice = Chosen(target, processes, labels, host, everyone, yes)
        return carry_out(order, choice, local=local, as_json=as_json)

    callback.__doc__ = inspect.getdoc(function)
    callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    command: Callable[..., Verdict] = callback
    for option in reversed(_COMMON):
        command = option(command)
    return click.command(function.__name__)(command)
