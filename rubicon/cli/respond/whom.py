"""Whom a response is about: from words and options to a list of targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import click

from rubicon.cli.render.safe import safe
from rubicon.client.errors import AgentNotFound
from rubicon.client.local import LocalSocket
from rubicon.client.sync import Client

_PROCESS = re.compile(r"(?:pid:)?([1-9][0-9]{0,9})(?:@([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Whom:
    """One target."""

    name: str
    """For people: an agent's name, or "process PID"."""
    agent: str = ""
    """Id or name, or empty."""
    process: tuple[int, int] | None = None
    """pid, start time or 0."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line says."""

    words: Sequence[str]
    processes: Sequence[str]
    labels: Mapping[str, str]
    host: str
    everyone: bool
    yes: bool

    @property
    def many(self) -> bool:
        """Chosen by what they have in common, so there may be any number of them."""
        return bool(self.everyone or self.labels or self.host)


def parsed(target: str) -> tuple[int, int] | None:
    """(pid, start time or 0) when a target names a process; None when it names an agent."""
    match = _PROCESS.fullmatch(target)
    if not match or (len(match[1]) > 7 and not target.startswith("pid:")):
        return None  # a pid has at most 7 digits (4 194 304), an id of 12 digits may have no letter
    return int(match[1]), int(match[2] or 0)


def chosen(choice: Chosen, action: str, client: Client | None) -> list[Whom]:
    """The targets; without a client those that this host's sensor knows.

    Raises:
        click.UsageError: nobody is named, or words and selectors are mixed.
        click.Abort: the person said no.
        AgentNotFound: no living agent fits.
    """
    if choice.many and (choice.words or choice.processes):
        raise click.UsageError("name targets, or select them with --label, --host or --all; not both")
    if client is None and choice.host:
        raise click.UsageError("--local asks this host's sensor, which knows no other host: leave --host out")
    if not choice.many:
        found = [_named(word) for word in choice.words] + [_process(word) for word in choice.processes]
        if not found:
            raise click.UsageError("name a target, or select agents with --label, --host or --all")
        return list(dict.fromkeys(found))
    found = list(_here(choice.labels) if client is None else _everywhere(client, choice.labels, choice.host))
    if not found:
        raise AgentNotFound("no living agent fits", "'rubicon ps' lists them with their labels")
    if choice.everyone and not choice.yes:
        click.confirm(f"{action} all {len(found)} living agents?", abort=True, err=True)
    return found


def _named(word: str) -> Whom:
    return _process(word) if parsed(word) else Whom(safe(word), agent=word)


def _process(word: str) -> Whom:
    process = parsed(word)
    if process is None:
        raise click.UsageError(f"process {word!r}: use PID or PID@START")
    return Whom(f"process {process[0]}", process=process)


def _everywhere(client: Client, labels: Mapping[str, str], host: str) -> Iterable[Whom]:
    for agent in client.agents.list(labels=labels):
        if agent.alive and host in ("", agent.host):
            yield Whom(safe(agent.name), agent=agent.id)


def _here(labels: Mapping[str, str]) -> Iterable[Whom]:
    for agent in LocalSocket().call("agents")["agents"]:
        if labels.items() <= agent["labels"].items():
            yield Whom(safe(agent["name"]), agent=agent["id"])
