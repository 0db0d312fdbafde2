"""What the daemons hold in memory while a thousand agents live and a million short processes come and go."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.bulk import enrolled
from bench.host import BIN, ENVIRONMENT, OURS, compiled, up
from bench.row import Row
from bench.stats import Interval
from rubicon.cli.daemons import record

BARS_MB = {"rubicon-sensor": 60, "rubicon-plane": 200}
FLAT = 1.05
"""Of the second half: how much more at its end than at its begin."""
RATE = 4_000
"""Processes a second: two records each."""


def resident() -> dict[str, float]:
    """Resident memory of each daemon, megabytes (VmRSS of /proc/PID/status)."""
    found = {}
    for daemon in record.read(OURS):
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
        found[daemon.name] = int(kilobytes) / 1024
    return found


def measure(agents: int, processes: int) -> list[Row]:
    """Rows: megabytes with all agents enrolled and after the processes, and what the second half of them added."""
    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    half = [str(BIN / "rubicon"), "run", "-q", "--", str(compiled("forks")), str(processes // 2), str(RATE)]
    with up(), enrolled(agents):
        seen = [resident()]
        for _ in range(2):
            subprocess.run(half, env=ENVIRONMENT, check=True, timeout=3600)
            seen.append(resident())
    rows = []
    for name, bar in BARS_MB.items():
        first, middle, last = (each[name] for each in seen)
        rows.append(_row(f"{name}, {agents} agents", "MB", first, bar))
        rows.append(_row(f"{name}, {agents} agents, after {processes} short processes", "MB", last, bar))
        rows.append(_row(f"{name}, over the second half of them", "ratio", last / middle, FLAT))
    return rows


def _row(what: str, unit: str, found: float, bar: float) -> Row:
    return Row(what, unit, Interval(found, found, found), bar, 1)
