"""events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import click

from rubicon.cli.framework import View, agent_argument, reading, secrets_option, since_option
from rubicon.cli.render import shapes
from rubicon.cli.render.lines import event_line, program
from rubicon.cli.render.output import Output
from rubicon.cli.render.safe import safe
from rubicon.client.records.event import Event
from rubicon.client.sync import Client

_REMEMBERED = 20_000
"""Processes whose program is remembered while events pass."""


class _Programs:
    """What each process runs, learnt from the agent's tree and from the events that pass."""

    def __init__(self, client: Client, agent: str) -> None:
        found = client.agents.get(agent)
        self.agent = found.name
        self._names: dict[tuple[str, int, int], str] = {p.key: program(p) for p in found.tree(all=True)}

    def name(self, event: Event) -> str:
        """Of an event's process."""
        return self._names.get((event.boot_id, event.pid, event.start_time), "?")

    def learn(self, event: Event) -> None:
        """An exec names its process."""
        if event.kind == "exec":
            if len(self._names) > _REMEMBERED:
                self._names.clear()
            exe = event.message.exec.exe
            self._names[event.boot_id, event.pid, event.start_time] = safe(exe.rpartition("/")[2])


Item = tuple[Event, _Programs]


def _lines(output: Output, items: Iterable[Item]) -> None:
    for event, programs in items:
        programs.learn(event)
        output.line(event_line(event, programs.agent, programs.name, output.icon))


@reading(View(json=lambda item: [shapes.event(item[0])], human=_lines))
@agent_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they happen, until AGENT ends.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this kind; may be repeated.")
@click.option("--pid", type=int, default=0, help="Only of this process.")
@click.option("--cursor", default="", help="Resume after the event that has this cursor (--json shows it).")
@since_option
@secrets_option
def events(
    client: Client,
    agent: str,
    follow: bool,
    kinds: tuple[str, ...],
    pid: int,
    cursor: str,
    since: datetime | None,
    show_secrets: bool,
) -> Iterable[Item]:
    """Show what AGENT did, one line an event, in the order in which it was stored.

    Secrets in arguments are masked. Kinds: fork, exec, exit, join, process_snapshot, socket, bind, listen, connect,
    send, establish, close, payload, packet, unix_connect, unix_send, enrol, finish, contain, ssh_config, loss, tamper,
    tag_pressure.
    """
    programs = _Programs(client, agent)
    wanted = tuple(part for kind in kinds for part in kind.split(",") if part)
    stream = client.events(
        agent, kinds=wanted, pid=pid, cursor=cursor, since=since, follow=follow, show_secrets=show_secrets
    )
    return ((event, programs) for event in stream)


COMMAND = events
