"""Measure against the bars and write docs/performance.md (root): all parts, or those that are named.

`--quick` is a rehearsal of few and short runs that writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench import (
    bulk,
    host,
    isolated,
    jobs,
    latency,
    memory,
    overhead,
    profile,
    report,
    responses,
    start,
    stopped,
    throughput,
)
from bench.row import HEAD


class Part(NamedTuple):
    """One section; `measure` is given whether this is a rehearsal."""

    title: str
    measure: Callable[[bool], Sequence[report.Line]]
    head: str = HEAD


PARTS = {
    "overhead": Part("What it costs", lambda quick: overhead.measure(3 if quick else 12, 0.1 if quick else 0.3)),
    "jobs": Part("Whole jobs", lambda quick: jobs.measure(2 if quick else 6)),
    "start": Part("Start of an agent", lambda quick: start.measure(5 if quick else 30, 1 if quick else 5)),
    "profile": Part(
        "Launch profile", lambda quick: profile.measure(3 if quick else 12, 5 if quick else 30, 0.1 if quick else 0.3)
    ),
    "isolated": Part("Others' isolation", lambda quick: isolated.measure(3 if quick else 12, 0.1 if quick else 0.3)),
    "latency": Part("Alerts", lambda quick: latency.measure(20 if quick else 300)),
    "stopped": Part("Detect → stopped", lambda quick: stopped.measure(10 if quick else 200)),
    "throughput": Part("Throughput", lambda quick: throughput.measure(1 if quick else 5, 3 if quick else 20)),
    "bulk": Part("Many agents", lambda quick: bulk.measure(100 if quick else 1000)),
    "memory": Part("Memory", lambda quick: memory.measure(100 if quick else 1000, 10_000 if quick else 1_000_000)),
    "responses": Part(
        "Responses, from the API call to verified",
        lambda quick: responses.measure(3 if quick else 20),
        responses.HEAD,
    ),
}


def main() -> int:
    """Measure, report, and exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few pairs, short workloads, no report file")
    parser.add_argument("part", nargs="*", help=f"measure these only, the others' figures stay: {', '.join(PARTS)}")
    options = parser.parse_args()
    if unknown := set(options.part) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    held = True
    host.forget()
    for name in options.part or PARTS:
        part, started = PARTS[name], time.monotonic()
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        found = report.section(part.title, part.head, part.measure(options.quick), started)
        print(f"\n{found.title}\n\n{found.table}\n{found.made}", flush=True)
        held = held and found.holds
        if not options.quick:
            report.keep(name, found)
            report.write(list(PARTS))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
