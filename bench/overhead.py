"""What Rubicon costs: the micro workloads with it down, up but not enrolled, and enrolled, block by block."""

from __future__ import annotations

import subprocess
from collections import defaultdict

from bench.host import micro, minima, rubicon, up
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


def _add(figures: Figures, output: str) -> None:
    for name, minimum in minima(output).items():
        figures[name].append(minimum)


def _compare(down: list[float], other: list[float], unit: str) -> Interval:
    if unit == "ratio":
        return paired(down, other, lambda u, d: u / d)
    return paired(down, other, lambda u, d: (u - d) / 1000)


def measure(pairs: int, seconds: float) -> list[Row]:
    """Rows "not enrolled" and "enrolled"; `pairs` blocks of down, up and enrolled, in alternating order."""
    down: Figures = defaultdict(list)
    idle: Figures = defaultdict(list)
    enrolled: Figures = defaultdict(list)
    with micro(seconds) as command:

        def bare(into: Figures) -> None:
            _add(into, subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

        def block_up() -> None:
            with up():
                bare(idle)
                _add(enrolled, rubicon("run", "--", *command).stdout)

        for pair in range(pairs):
            if pair % 2:
                block_up()
                bare(down)
            else:
                bare(down)
                block_up()
    rows = []
    for title, table, figures in (("not enrolled", NOT_ENROLLED, idle), ("enrolled", ENROLLED, enrolled)):
        for name, (unit, bar) in table.items():
            found = _compare(down[name], figures[name], unit)
            rows.append(Row(f"{title}: {name.replace('_', ' ')}", unit, found, bar, pairs))
    return rows
