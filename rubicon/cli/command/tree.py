"""tree."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rubicon.cli.framework import View, agent_argument, reading, secrets_option
from rubicon.cli.render import shapes
from rubicon.cli.render.lines import command
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.records.process import Process
from rubicon.client.sync import Client

Place = tuple[int, bool, Process]


def _lines(output: Output, places: Iterable[Place]) -> None:
    bars: list[bool] = []
    branch, end, bar = ("├─ ", "└─ ", "│  ") if output.unicode else ("|- ", "`- ", "|  ")
    for depth, last, process in places:
        del bars[max(depth - 1, 0) :]
        lead = "".join("   " if done else bar for done in bars) + ((end if last else branch) if depth else "")
        if depth:
            bars.append(last)
        output.line([(lead, "dim"), *described(process)])


def described(process: Process) -> list[Part]:
    """A process in one line."""
    words = command(process.argv) or safe(process.exe) or "?"
    parts: list[Part] = [
        (f"{process.pid} ", "bold" if process.alive else "dim"),
        (words, "" if process.alive else "dim"),
    ]
    shown = process.argv[0].rpartition("/")[2] if process.argv else ""
    real = process.exe.rpartition("/")[2]
    if real and shown.lstrip("-") != real:
        parts.append((f"  = {safe(process.exe)}", "yellow"))
    if not process.alive:
        how = f"signal {process.signal}" if process.signal else f"status {process.status}"
        parts.append((f"  ({how})", "dim"))
    return parts


@reading(View(json=lambda place: [shapes.process(place[2], place[0])], human=_lines))
@agent_argument
@click.option("-a", "--all", "everyone", is_flag=True, help="Also processes that have ended.")
@secrets_option
def tree(client: Client, agent: str, everyone: bool, show_secrets: bool) -> Iterable[Place]:
    """Show the process tree of AGENT (id, unique id prefix or name).

    Behind '=' stands the program that really runs, where its name in the arguments is another.
    """
    return client.agents.get(agent).tree(all=everyone, show_secrets=show_secrets).walk()


COMMAND = tree
