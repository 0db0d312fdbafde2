"""The report: a section a part, kept below build/bench/report, so that one part can be measured anew by itself."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

KEPT = Path("build/bench/report")
REPORT = Path("docs/performance.md")
HEAD = """# Performance

Written by `make bench`; do not edit. Each figure is the median of pairs or runs, with the 95 % bootstrap interval of that
median; what is compared ran in turn in the same run. A row holds when its interval includes or lies below the bar. Workloads
report the minimum over their batches; their source is `bench/programs/`. Micro workloads (not whole jobs) run with their other
end on one processor, so that the scheduler's choice of it is no difference between what is compared. "Not enrolled" is a
process that no agent owns while plane and sensor run with the default hooks; "enrolled" is the same under `rubicon run`.
"""


class Line(Protocol):
    """A row of any table."""

    @property
    def holds(self) -> bool:
        """Whether its bar is met."""

    def markdown(self) -> str:
        """The row."""


@dataclass(frozen=True)
class Section:
    """What one part found."""

    title: str
    table: str
    holds: bool
    made: str
    """Machine, day and how long it took."""


def section(title: str, head: str, rows: Sequence[Line], started: float) -> Section:
    """A part's rows as they are shown; `started` is when it began (time.monotonic)."""
    made = f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}"
    table = head + "".join(row.markdown() + "\n" for row in rows)
    return Section(title, table, all(row.holds for row in rows), f"{made}; took {time.monotonic() - started:.0f} s")


def keep(part: str, found: Section) -> None:
    """In place of what the part found before."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{part}.json").write_text(json.dumps(asdict(found)))


def write(parts: Sequence[str]) -> None:
    """Write the report of all that is kept, in this order."""
    kept = [Section(**json.loads(path.read_text())) for part in parts if (path := KEPT / f"{part}.json").exists()]
    text = "".join(f"\n## {each.title}\n\n{each.table}\n{each.made}.\n" for each in kept)
    REPORT.write_text(HEAD + text)
