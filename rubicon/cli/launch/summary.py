"""What is said once CMD has ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rubicon.cli.launch.alerts import AlertPrinter
from rubicon.cli.launch.room import awaited
from rubicon.cli.launch.survivors import pids
from rubicon.cli.render.lines import program
from rubicon.cli.render.output import Output, Part
from rubicon.cli.render.safe import safe
from rubicon.client.errors import RubiconError

if TYPE_CHECKING:
    from rubicon.client.agents import Agent
    from rubicon.client.sync import Client

ROOM_S = 5.0
"""Longest wait for threads to be had again."""
CATCH_UP_S = 1.0
"""Longest wait for the plane to have stored the end."""


def told(agent_id: str, printer: AlertPrinter, *, alive: int, quiet: bool, by_us: bool) -> Agent | None:
    """Show what waited and the summary on stderr; the agent as the plane has it, None when it does not answer.

    Args:
        alive: processes of it that still live.
        by_us: `run` itself had it killed, so nobody else's reason is waited for.
    """
    output = Output(sys.stderr)
    if not awaited(ROOM_S):
        output.wrapped([("rubicon: no summary: no thread can be started, there are too many processes", "yellow")])
        return None
    from rubicon.client.sync import Client

    try:
        with Client() as client:
            agent = _caught_up(client, agent_id, alive, by_us)
            printer.finish(list(agent.alerts())[::-1])
            if not quiet:
                _summary(output, agent)
            if alive and agent.alive:
                _list(output, agent)
            return agent
    except RubiconError as error:
        output.wrapped([(f"rubicon: no summary: {safe(error.message)}", "yellow")])
        return None


def _caught_up(client: Client, agent_id: str, alive: int, by_us: bool) -> Agent:
    deadline = time.monotonic() + CATCH_UP_S
    living = pids(agent_id) if alive else frozenset()
    while True:
        try:
            agent = client.agents.get(agent_id)
            if alive and agent.alive and agent.process_count == alive and _known(agent, living):
                return agent
            # the end comes up as an event, and why a moment later with the response
            if not alive and not agent.alive and (by_us or agent.reason or agent.state != "killed"):
                return agent
        except RubiconError:
            if time.monotonic() > deadline:
                raise
        else:
            if time.monotonic() > deadline:
                return agent
        time.sleep(0.02)


def _known(agent: Agent, living: frozenset[int]) -> bool:
    """The plane has heard of all who live, and of the programs that they run: forks and execs come a moment later."""
    found = {process.pid: process.exe for process in agent.tree().processes if process.alive}
    return living <= found.keys() and all(found.values())


def _summary(output: Output, agent: Agent) -> None:
    parts: list[Part] = [
        (f"rubicon: {safe(agent.name)} ", "bold"),
        (f"({agent.id}): {agent.process_total} processes, {agent.flow_count} flows, ", ""),
        (f"{agent.alert_count} alerts", "bold red" if agent.alert_count else "green"),
    ]
    if agent.lost:
        parts.append((f", {agent.lost} records lost", "bold red"))
    output.wrapped(parts)
    more = f"rubicon tree -a {agent.id}   rubicon events {agent.id}"
    output.wrapped([(f"         more: {more}" + ("   rubicon alerts " + agent.id if agent.alert_count else ""), "dim")])


def _list(output: Output, agent: Agent) -> None:
    living = [each for each in agent.tree().processes if each.alive]
    if not living:
        return  # it has ended meanwhile
    names = ", ".join(f"{program(each)}[{each.pid}]" for each in living[:10])
    more = f" and {len(living) - 10} more" if len(living) > 10 else ""
    output.wrapped([(f"rubicon: {len(living)} processes live on, watched: {names}{more}", "yellow")])
    output.wrapped([(f"         end them with: rubicon kill {agent.id}", "dim")])
