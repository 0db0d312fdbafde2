"""What Rubicon costs: the micro workloads with it down, up but not enrolled, and enrolled, block by block."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.host import compiled, rubicon, up
from bench.row import Row
from bench.stats import Interval, paired

Figures = dict[str, list[float]]

# name -> (unit, bar); a ratio's bar is absolute, a difference's bar in microseconds
NOT_ENROLLED = {
    "getppid": ("ratio", 1.01),
    "open_read_close": ("ratio", 1.01),
    "pipe": ("ratio", 1.01),
    "tcp_round_trip": ("ratio", 1.01),
    "tcp_bulk": ("ratio", 1.01),
    "fork": ("ratio", 1.01),
    "exec": ("ratio", 1.01),
    "connect_close": ("µs", 0.8),
    "udp_send": ("µs", 0.25),
}
ENROLLED = {
    "fork": ("µs", 4.0),
    "exec": ("µs", 15.0),
    "connect_close": ("µs", 4.0),
    "tcp_round_trip": ("µs", 0.7),
    "tcp_bulk": ("ratio", 1.06),
}


def _measure(command: Sequence[str], into: Figures) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    _collect(done.stdout, into)


def _collect(output: str, into: Figures) -> None:
    for line in output.splitlines():
        name, minimum, _median = line.split()
        into[name].append(float(minimum))


def _compare(down: list[float], other: list[float], unit: str) -> Interval:
    if unit == "ratio":
        return paired(down, other, lambda u, d: u / d)
    return paired(down, other, lambda u, d: (u - d) / 1000)


def measure(pairs: int, seconds: float) -> list[Row]:
    """Rows "not enrolled" and "enrolled"; `pairs` blocks of down, up and enrolled, in alternating order."""
    micro: Path = compiled("micro")
    down: Figures = defaultdict(list)
    idle: Figures = defaultdict(list)
    enrolled: Figures = defaultdict(list)

    def block_down() -> None:
        _measure([str(micro), str(seconds)], down)

    def block_up() -> None:
        with up():
            _measure([str(micro), str(seconds)], idle)
            _collect(rubicon("run", "--", str(micro), str(seconds)).stdout, enrolled)

    for pair in range(pairs):
        for block in (block_down, block_up) if pair % 2 == 0 else (block_up, block_down):
            block()
    rows = []
    for title, table, figures in (("not enrolled", NOT_ENROLLED, idle), ("enrolled", ENROLLED, enrolled)):
        for name, (unit, bar) in table.items():
            found = _compare(down[name], figures[name], unit)
            rows.append(Row(f"{title}: {name.replace('_', ' ')}", unit, found, bar, pairs))
    return rows
