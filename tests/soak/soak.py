"""The soak: round after round against a real host until the time is over. No byte after isolate, nobody left after kill."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rubicon import Client, RubiconError
from sensor.act.cgroup import Cgroup
from tests.e2e.adversary.fight import Fighter, escaping, fighter, known, round_done
from tests.e2e.adversary.wire import Wire, public, wire
from tests.e2e.host import Host, until
from tests.sensor.act.keeper import compiled
from tests.soak.rounds import Escape, Round, rounds

BOMB_S = 300
"""Seconds after which a bomb that nobody has ended ends by itself."""


@dataclass
class Tally:
    """What a soak came to."""

    seed: int
    escapes: int = 0
    kills: int = 0

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.escapes} isolations, no byte out; {self.kills} kills, nobody left"


def soak(host: Host, seed: int, seconds: float, tell: Callable[[str], None] = print) -> Tally:
    """Go on until the time is over; a round that fails raises, with its number and what it was.

    Raises:
        AssertionError: a byte got out, or somebody was left.
    """
    tally, end = Tally(seed), time.monotonic() + seconds
    with wire() as cable, places() as folders:
        for number, each in enumerate(rounds(seed)):
            if time.monotonic() > end:
                return tally
            tell(f"round {number} of seed {seed}: {each}")
            try:
                play(host, cable, folders, each)
            except AssertionError as error:
                logs = shutil.copytree(host.instance.log_dir, f"build/soak/{seed}", dirs_exist_ok=True)
                what = f"seed {seed}, round {number}, {each}: {error}; the daemons' logs are in {logs}"
                raise AssertionError(what) from error
            if isinstance(each, Escape):
                tally.escapes += 1
            tally.kills += 1
    return tally


def play(host: Host, cable: Wire, folders: list[str], each: Round) -> None:
    """One round."""
    if isinstance(each, Escape):
        with escaping(host, cable, *each.ways, options=("--user", each.user)) as fights:
            escape(fights, cable, each)
        return
    command = [public(Path(compiled("bomb"))), str(each.width), str(BOMB_S), each.mode, *folders]
    with fighter(host, *command, options=("--user", each.user), seconds=BOMB_S) as fights:
        if each.frozen:
            fights.act("freeze")
        with dying(host, each.dies):
            fights.killed()


def escape(fights: Fighter, cable: Wire, each: Escape) -> None:
    """Isolated, it tries everything; the counter stands still."""
    if not each.local:
        until(lambda: known(fights.host, fights.name), seconds=60)
    fights.act("isolate", local=each.local)
    if each.again:
        fights.act("release", local=each.local)
        fights.act("isolate", local=each.local)
    silent = cable.quiet()
    fights.tell()
    with dying(fights.host, each.dies):
        round_done(fights, each.rounds)
    assert cable.count()[0] == silent, f"a byte got out: {cable.count()[1]}"
    fights.killed()
    assert cable.count()[0] == silent, f"a byte got out while it died: {cable.count()[1]}"


@contextlib.contextmanager
def dying(host: Host, daemon: str) -> Iterator[None]:
    """A daemon is killed at the beginning, and is back at the end."""
    before = host.daemon(daemon) if daemon else 0
    if before:
        os.kill(before, signal.SIGKILL)
        until(lambda: host.daemon(daemon) not in (0, before))
        until(lambda: connected(host))
    yield


def connected(host: Host) -> bool:
    """The plane has a sensor, which it did not take for another one beside it.

    Asked without a command, which takes longer to begin beside a bomb than the daemons do.
    """
    with contextlib.suppress(RubiconError), Client(host.instance) as client:
        found = client.coverage()
        return bool(found) and all(each.connected for each in found)
    return False


@contextlib.contextmanager
def places() -> Iterator[list[str]]:
    """Two cgroups of nobody's, to leave to."""
    made = [Cgroup.at(f"/rubicon-t-soak-{os.getpid()}-{secrets.token_hex(4)}") for _ in range(2)]
    for each in made:
        each.make()
    try:
        yield [str(each.folder) for each in made]
    finally:
        for each in made:
            until(each.remove)
