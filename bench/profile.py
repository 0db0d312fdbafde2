"""What the launch profile costs: CMD under it and under --privileged, in turn."""

from __future__ import annotations

from bench.host import compiled, micro, minima, rubicon, up
from bench.row import Row
from bench.start import once
from bench.stats import paired

WORKLOADS = ("getppid", "open_read_close", "tcp_round_trip", "fork", "exec")
START_BAR_MS = 15
CALL_BAR = {"getppid": 0.1, "open_read_close": 0.3, "tcp_round_trip": 0.5, "fork": 4.0, "exec": 15.0}
"""Microseconds added; a filter costs every system call the same, and a workload has several."""


def measure(pairs: int, starts: int, seconds: float) -> list[Row]:
    """Rows "launch profile": the start in milliseconds, workloads in microseconds; all are differences."""
    clock = str(compiled("clock"))
    without: dict[str, list[float]] = {name: [] for name in WORKLOADS}
    under: dict[str, list[float]] = {name: [] for name in WORKLOADS}
    bare, filtered = [], []
    with up(), micro(seconds, *WORKLOADS) as command:
        for _ in range(starts):
            bare.append(once(clock, "--privileged"))
            filtered.append(once(clock))
        for _ in range(pairs):
            for figures, options in ((without, ["--privileged"]), (under, [])):
                for name, minimum in minima(rubicon("run", *options, "--", *command).stdout).items():
                    figures[name].append(minimum)
    rows = [
        Row(
            "launch profile: run → first instruction, added",
            "ms",
            paired(bare, filtered, lambda up, down: up - down),
            START_BAR_MS,
            starts,
        )
    ]
    for name in WORKLOADS:
        found = paired(without[name], under[name], lambda up, down: (up - down) / 1000)
        rows.append(Row(f"launch profile: {name.replace('_', ' ')}", "µs", found, CALL_BAR[name], pairs))
    return rows
