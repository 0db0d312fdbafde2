"""How a command is written.

A reading command is a function that takes the client and what its options give, and returns a value; its docstring is
the help. `reading(view)` makes a click command of it, with `--json`; the view says how a value is shown to a person
and to a program.

    @reading(View(json=shapes.agent, human=table))
    @click.option("-a", "--all", "everyone", is_flag=True, help="Also those that have ended.")
    def ps(client: Client, everyone: bool) -> Iterable[Agent]:
        \"\"\"List agents, as docker ps lists containers.\"\"\"
        return client.agents.list(all=everyone)

    COMMAND = ps

No command knows exit codes: it raises an error of rubicon.client.errors, or its view gives a Verdict (main.py).
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
from click.shell_completion import CompletionItem

from rubicon.cli import words
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.client.errors import AgentKilledError

if TYPE_CHECKING:
    from rubicon.client.sync import Client

T = TypeVar("T")


class Verdict(enum.Enum):
    """How a command that did its work ended, where that is more than "done"."""

    YES = "yes"
    NO = "no"
    PARTLY = "partly"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """`run`: the status to exit with, 0 to 255."""

    code: int


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """How the items of a command's value are shown; items are shown as they come."""

    json: Callable[[T], Iterable[dict[str, Any]]]
    """The JSON objects of an item, one a line."""
    human: Callable[[Output, Iterable[T]], None]
    """Shows all items to a person."""
    verdict: Callable[[T], Verdict] = lambda _: Verdict.YES
    """Of an item; the worst counts."""


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line (names: docs/cli.md).")
secrets_option = click.option("--show-secrets", is_flag=True, help="Do not mask secrets in arguments (root only).")


def reading(view: View[T]) -> Callable[[Callable[..., Iterable[T]]], click.Command]:
    """Make a command of a function that takes the client and returns the items to show."""

    def decorate(function: Callable[..., Iterable[T]]) -> click.Command:
        def callback(as_json: bool, **options: Any) -> Verdict:
            with connect() as client:
                return show(view, function(client, **options), as_json)

        callback.__doc__ = inspect.getdoc(function)
        callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return click.command(function.__name__)(json_option(callback))

    return decorate


def show(view: View[T], items: Iterable[T], as_json: bool) -> Verdict:
    """Show items on stdout, and return the worst verdict."""
    output = Output()
    verdicts = {Verdict.YES}

    def judged() -> Iterable[T]:
        try:
            for item in items:
                verdicts.add(view.verdict(item))
                yield item
        except AgentKilledError as error:  # the end of what was followed, and no failure
            click.echo(f"rubicon: {safe(error.message)}", err=True)

    if as_json:
        for item in judged():
            for value in view.json(item):
                output.json(value)
    else:
        view.human(output, judged())
    return next(each for each in (Verdict.NO, Verdict.PARTLY, Verdict.YES) if each in verdicts)


def connect() -> Client:
    """A client of the instance that RUBICON_INSTANCE names."""
    from rubicon.client.sync import Client

    return Client()


since_option = click.option(
    "--since", callback=words.option(words.moment), metavar="TIME", help="Not before: 30s, 10m, 2h, 1d ago, or ISO."
)


def agent_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For the shell's completion: names of living agents."""
    try:
        with connect() as client:
            return [agent.name for agent in client.agents.list() if agent.name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - a completion that fails must be silent
        return []


agent_argument = click.argument("agent", shell_complete=agent_names)


def program_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell's completion of CMD…: programs in PATH first, then files."""
    if context.params.get("command") or "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    found = set()
    for folder in os.get_exec_path():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found |= {each.name for each in entries if each.name.startswith(incomplete) and os.access(each, os.X_OK)}
    return [CompletionItem(name) for name in sorted(found)]
