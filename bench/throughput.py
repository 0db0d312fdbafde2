"""Events a second from the kernel's ring into the plane's store, with tree and detectors, both daemons and the agents that
make the events on one host."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.flood import flood
from bench.host import ENVIRONMENT, up
from bench.row import Row
from bench.stats import Interval, interval
from rubicon import Client
from rubicon.v1.instance import Instance

BAR = 50_000
"""Events a second that are to be stored."""
BAR_BYTES = 120
"""Of an event on disk."""
RATE = 52_000
"""Events a second that are made: a little more, for the agents that make them do not begin and end in the same instant."""
FORKS = 1_000
"""Processes a second among them: two records each."""
SETTLED_S = 1.0
"""Seconds without a new event in the store after which nothing is under way any more."""


def _stored(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        found = connection.execute("SELECT max(first_position + events) FROM segments").fetchone()[0]
    return int(found or 0)


def _used(database: Path) -> int:
    """Bytes of all tables and indexes, the write-ahead log's among them."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        count, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((count - free) * size)


def measure(runs: int, seconds: float) -> list[Row]:
    """Rows: microseconds an event, from the first one made until the last is stored, at RATE for `seconds`; how far behind,
    and how many lost; and bytes an event in the store, the rows of its processes among them."""
    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    each_us, lost, late_s, each_bytes = [], 0, [], []
    database = Instance.current().store_dir / "rubicon.db"
    for _ in range(runs):
        with up(), Client() as client:
            before = _used(database)
            made, stored, took, behind, gone = _once(client, database, seconds)
            each_bytes.append((_used(database) - before) / stored)
            if abs(made - stored - gone) > 0.02 * made:
                raise RuntimeError(f"{made} records were made, {stored} stored and {gone} lost")
            each_us.append(took / stored * 1e6)
            late_s.append(behind)
            lost += gone
    rate = f"{RATE:,}".replace(",", " ")
    return [
        Row(
            f"ring → stored, an event, at {rate} a second for {seconds:g} s",
            "µs an event",
            interval(each_us),
            1e6 / BAR,
            runs,
        ),
        Row("ring → stored, behind at the end of that", "s", interval(late_s), None, runs),
        Row("ring → stored, events lost in that", "events", Interval(lost, lost, lost), 0, runs),
        Row("an event on disk, with its processes' rows", "B", interval(each_bytes), BAR_BYTES, runs),
    ]


def _once(client: Client, database: Path, seconds: float) -> tuple[int, int, float, float, int]:
    """Records made and stored, seconds until the last was stored, seconds of these after the last was made, lost."""
    with flood(RATE, seconds, FORKS) as agents:
        before = _stored(database)
        while _stored(database) - before < RATE // 100:
            time.sleep(0.005)
        began = time.monotonic()
        made = sum(int(agent.process.communicate(timeout=seconds * 10)[0]) for agent in agents)
        ended = last = time.monotonic()
        stored = _stored(database)
        while time.monotonic() - last < SETTLED_S:
            time.sleep(0.01)
            if (now := _stored(database)) != stored:
                stored, last = now, time.monotonic()
    lost = sum(client.agents.get(agent.name).lost for agent in agents)
    return made, stored - before, last - began, last - ended, lost
