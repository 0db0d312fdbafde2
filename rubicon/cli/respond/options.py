"""The options that all four have, as one decorator, and how a command runs with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from rubicon.cli.framework import Verdict, agent_names, json_option


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, besides of whom."""

    action: str
    """kill, freeze, isolate or release."""
    reason: str = ""
    force: bool = False
    dry_run: bool = False
    ttl: float | None = None
    """Seconds."""
    isolation: dict[str, Any] = field(default_factory=dict)
    """allow, allow_loopback, unix, strict."""


def seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """`--ttl`: seconds, or 30s, 10m, 2h, 1d."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    with contextlib.suppress(ValueError):
        value = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
        if 0 < value <= 366 * 86400:
            return value
    raise click.BadParameter("use seconds or 30s, 10m, 2h, 1d, above zero and at most 366d")


ttl_option = click.option("--ttl", callback=seconds, metavar="TIME", help="Ends by itself after this time.")
force_option = click.option("--force", is_flag=True, help="Also when the target holds the caller itself.")


def targets(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Options that say whom: TARGET…, --process, --label, --host, --all; and --reason, --dry-run, --local, --json."""
    for option in reversed(
        (
            click.argument("target", nargs=-1, shell_complete=agent_names),
            click.option("--process", "processes", multiple=True, metavar="PID[@START]", help="With its descendants."),
            click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Living agents with it."),
            click.option("--host", default="", metavar="HOST", help="Living agents of this host."),
            click.option("--all", "everyone", is_flag=True, help="Every living agent; asks first."),
            click.option("--yes", is_flag=True, help="Do not ask."),
            click.option("--reason", default="", help="Why; it is kept with the response and in the audit."),
            click.option("--dry-run", is_flag=True, help="Only list whom it would touch."),
            click.option(
                "--local", is_flag=True, help="Ask this host's sensor, not the plane: works while the plane is dead."
            ),
            json_option,
        )
    ):
        function = option(function)
    return function
