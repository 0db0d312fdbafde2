"""`rubicon run` until CMD's first instruction."""

from __future__ import annotations

import subprocess
import time

from bench.host import BIN, ENVIRONMENT, compiled, rubicon, up
from bench.row import Row
from bench.stats import interval


def once(program: str, *options: str) -> float:
    """Milliseconds from here to the first instruction of programs/clock.c under `rubicon run` with the options."""
    started = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    done = subprocess.run(
        [str(BIN / "rubicon"), "run", *options, "--", program],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return (int(done.stdout) - started) / 1e6


def measure(count: int, cold: int) -> list[Row]:
    """Rows "daemons up" (count runs) and "daemons down" (cold runs), milliseconds."""
    program = str(compiled("clock"))
    with up():
        warm = [once(program) for _ in range(count)]
    fresh = []
    for _ in range(cold):
        fresh.append(once(program))
        rubicon("down", "--yes")
    return [
        Row("run → first instruction, daemons up", "ms", interval(warm), 150, count),
        Row("run → first instruction, daemons down", "ms", interval(fresh), 2000, cold),
    ]
