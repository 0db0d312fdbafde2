"""What each object came to on this host, in the words that `rubicon coverage` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sensor.kernel.programs import How, Object, When

_SECTIONS = {How.RUN: "prog_test_run", How.CGROUP: "cgroup"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. `hook` is the kernel function or tracepoint, `mechanism` the kind of program that carries it."""

    fact: str
    hook: str
    mechanism: str
    state: Literal["full", "partial", "missing"]
    missing: str
    """What is not seen here and why; empty when nothing is missing."""
    dies_with_sensor: bool


def facts_of(entry: Object, refused: str, held: bool) -> list[Fact]:
    """The facts of one object; `refused` is the kernel's reason where it did not load or attach."""
    first = entry.programs[0]
    asked = all(program.when is When.ASKED for program in entry.programs)
    state: Literal["full", "partial", "missing"] = "missing" if refused else "partial" if entry.partial else "full"
    return [
        Fact(
            fact=name,
            hook=entry.hook,
            mechanism=_SECTIONS.get(first.how, first.how.value),
            state=state,
            missing=f"this kernel refuses it: {refused}" if refused else entry.partial,
            dies_with_sensor=asked or held,
        )
        for name in entry.named
    ]


def with_skipped(facts: Iterable[Fact], skipped: Mapping[str, int]) -> list[Fact]:
    """The same, where `skipped` says how often the kernel did not run a fact's program: such a fact is not whole."""
    return [_skipped(fact, skipped[fact.fact]) if skipped.get(fact.fact) else fact for fact in facts]


def _skipped(fact: Fact, count: int) -> Fact:
    told = (
        f"the kernel has skipped {count} of its runs, on a CPU that was in this hook already: no other count has them"
    )
    missing = f"{fact.missing}; {told}" if fact.missing else told
    return replace(fact, state="partial" if fact.state == "full" else fact.state, missing=missing)
