"""A thousand agents at once, on one host: enrolled by pid through the API, frozen, released, isolated and killed by label."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.host import ENVIRONMENT, rubicon, up
from bench.row import Row
from bench.stats import Interval
from rubicon import Client

LABEL = "job=bulk"
AT_ONCE = 8
BARS_MS = {"enrol": 60_000, "freeze": 60_000, "release": 60_000, "isolate": 60_000, "kill": 60_000}
"""For a thousand: a minute is what a person waits for."""


def measure(count: int) -> list[Row]:
    """Rows: the whole command, milliseconds, from its start to its table.

    Raises:
        RuntimeError: a command did not reach all, or a process outlived the kill.
    """
    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    rows = []

    def timed(action: str, work: object) -> None:
        started = time.monotonic()
        work()  # type: ignore[operator]
        took = (time.monotonic() - started) * 1e3
        what = f"bulk {action} of {count} agents"
        rows.append(Row(what, "ms", Interval(took, took, took), BARS_MS[action] * count / 1000, 1))

    with up(), _sleepers(count) as pids:
        timed("enrol", lambda: _enrol(pids))
        for action in ("freeze", "release", "isolate", "kill"):
            timed(action, lambda action=action: _all(action, count))
        _gone(pids)
    return rows


@contextmanager
def enrolled(count: int) -> Iterator[None]:
    """So many agents live inside the block, each of one process that sleeps."""
    with _sleepers(count) as pids:
        _enrol(pids)
        yield


def _enrol(pids: list[int]) -> None:
    with Client() as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def enrol(number: int) -> None:
            client.agents.create(f"bulk-{number}", labels={"job": "bulk"}).enrol(pid=pids[number])

        list(pool.map(enrol, range(len(pids))))


def _all(action: str, count: int) -> None:
    done = rubicon(action, "-l", LABEL).stdout
    if f"{action}: {count} targets" not in done:
        raise RuntimeError(f"{action} did not reach all: {done[-200:]}")


def _gone(pids: list[int]) -> None:
    left = [pid for pid in pids if not os.waitpid(pid, os.WNOHANG)[0]]
    if left:
        raise RuntimeError(f"{len(left)} processes outlived the kill")
    pids.clear()


@contextmanager
def _sleepers(count: int) -> Iterator[list[int]]:
    pids = [os.posix_spawn("/bin/sleep", ["sleep", "100000"], os.environ) for _ in range(count)]
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
