"""Run the bench and write docs/performance.md (root). `python -m bench --quick` is a rehearsal that writes nothing."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import bulk, isolated, latency, overhead, profile, responses, start, stopped, throughput
from bench.row import Row

REPORT = Path("docs/performance.md")
HEAD = """# Performance

Written by `make bench`; do not edit. Each figure is the median of pairs, Rubicon down and up in turn in the same run, with the
95 % bootstrap interval of that median. A row holds when its interval includes or lies below the bar. Workloads report the
minimum over their batches; their source is `bench/programs/`. "Not enrolled" is a process that no agent owns while plane and
sensor run with the default hooks; "enrolled" is the same program under `rubicon run`.

"""


def main() -> int:
    """Measure, report, and exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pairs, short workloads, no report file")
    quick = parser.parse_args().quick
    started = time.monotonic()
    rows: list[Row] = []
    parts: tuple[tuple[str, Callable[[], list[Row]]], ...] = (
        ("overhead", lambda: overhead.measure(3 if quick else 12, 0.1 if quick else 0.3)),
        ("start", lambda: start.measure(5 if quick else 30, 1 if quick else 5)),
        ("launch profile", lambda: profile.measure(3 if quick else 12, 5 if quick else 30, 0.1 if quick else 0.3)),
        ("isolation", lambda: isolated.measure(3 if quick else 12, 0.1 if quick else 0.3)),
        ("latency", lambda: latency.measure(20 if quick else 300)),
        ("throughput", lambda: throughput.measure(1 if quick else 5, 3 if quick else 20)),
        ("detect → stopped", lambda: stopped.measure(10 if quick else 200)),
        ("a thousand agents", lambda: bulk.measure(100 if quick else 1000)),
    )
    for title, run in parts:
        print(f"measuring {title} …", file=sys.stderr, flush=True)
        rows += run()
    table = "| what | median (95 % interval) | bar | unit | pairs or runs | holds |\n| --- | --- | --- | --- | --- | --- |\n"
    table += "\n".join(row.markdown() for row in rows) + "\n"
    print("measuring responses …", file=sys.stderr, flush=True)
    timings = responses.measure(3 if quick else 50)
    table += (
        "\n## Responses\n\nFrom the API call to verified, in milliseconds; the answer follows when that is stored.\n\n"
    )
    table += responses.HEAD + "\n".join(each.markdown() for each in timings) + "\n"
    machine = f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}"
    print(table)
    print(f"{machine}; took {time.monotonic() - started:.0f} s", file=sys.stderr)
    if not quick:
        REPORT.write_text(HEAD + table + f"\nMachine: {machine}.\n")
    held = all(row.holds for row in rows) and all(each.holds for each in timings)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
