"""Agents that fight back, below a keeper: whatever they do, they are gone afterwards, and who is left is known exactly."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.adversary.wire import Wire, escapes
from tests.e2e.host import Host, until
from tests.sensor.act.keeper import Kept, kept


@dataclass
class Fighter:
    """One agent, run by `rubicon run` under the launch profile."""

    host: Host
    name: str
    kept: Kept

    def tell(self) -> None:
        """A line to its stdin."""
        self.kept.release()

    def act(self, verb: str, *options: str, local: bool = True) -> dict[str, object]:
        """`rubicon VERB`; its response, verified. The plane may be late where agents flood it: the sensor is asked."""
        [response] = self.host.json(verb, self.name, *options, *(("--local",) if local else ()))
        assert response["state"] == "verified", response
        return response

    def killed(self, local: bool = True) -> None:
        """Kill it: nobody is left, by a controller that Rubicon does not use.

        `rubicon run` and its teller are in there as well and no part of the agent; where a bomb has taken all pids they may not
        end well.
        """
        self.act("kill", local=local)
        until(lambda: self.kept.living() <= self._run(), seconds=5)

    def _run(self) -> set[int]:
        """`rubicon run`, and who it forked to be what it is: an agent's process never has its command line."""
        command = _command(self.kept.pid)
        return {self.kept.pid, *(pid for pid in self.kept.living() if command and _command(pid) == command)}


def _command(pid: int) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def fighter(
    host: Host, *command: str, options: Sequence[str] = ("--user", "root"), enter: Sequence[str] = (), seconds: int = 90
) -> Iterator[Fighter]:
    """Start one; it has written its first line."""
    name = f"fights-{secrets.token_hex(4)}"
    run = host.command("run", "-q", "--alerts-to", "/dev/null", "--name", name, *options, "--", *command)
    environment = ("env", f"RUBICON_INSTANCE={host.name}")
    with kept(*enter, *environment, *run, most=1200, seconds=seconds) as made:
        made.release()
        line = made.line()
        assert line, "it did not begin"
        yield Fighter(host, name, made)
        if made.living():
            host.rubicon("kill", name, "--local")


@contextlib.contextmanager
def escaping(host: Host, wire: Wire, *ways: str, options: Sequence[str] = ("--user", "root")) -> Iterator[Fighter]:
    """One that has its sockets open inside, and begins at the first `tell`."""
    with fighter(host, *escapes(), *ways, options=options, enter=wire.enter) as made:
        yield made


def known(host: Host, name: str) -> bool:
    """The plane knows it as living."""
    done = host.rubicon("ps", "--json")
    return not done.returncode and any(json.loads(line)["name"] == name for line in done.stdout.splitlines())


def events(host: Host, name: str, part: str) -> list[dict[str, object]]:
    """An agent's events that have these words somewhere, once there are some; the plane may not know it yet."""

    def found() -> list[dict[str, object]]:
        done = host.rubicon("events", name, "--json")
        return [json.loads(line) for line in done.stdout.splitlines() if part in line] if not done.returncode else []

    return list(until(found, seconds=60))


def round_done(fights: Fighter, rounds: int) -> None:
    """It has tried everything so many times."""
    for _ in range(rounds):
        assert fights.kept.line(), "it has ended"
