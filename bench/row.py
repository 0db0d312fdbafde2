"""One line of the report."""

from __future__ import annotations

from dataclasses import dataclass

from bench.stats import Interval

HEAD = "| what | median (95 % interval) | bar | unit | pairs or runs | holds |\n| --- | --- | --- | --- | --- | --- |\n"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure beside its bar, if it has one; the row holds when the interval includes or lies below the bar."""

    what: str
    unit: str
    found: Interval
    bar: float | None
    count: int

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.bar is None or self.found.low <= self.bar

    def markdown(self) -> str:
        """One table row."""
        found = f"{self.found.median:.3f} ({self.found.low:.3f} to {self.found.high:.3f})"
        sign = "≤ +" if self.unit == "µs" else "≤"  # µs are what Rubicon adds
        bar, verdict = ("", "") if self.bar is None else (f"{sign}{self.bar:g}", "yes" if self.holds else "NO")
        return f"| {self.what} | {found} | {bar} | {self.unit} | {self.count} | {verdict} |"
