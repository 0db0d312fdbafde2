"""Paired comparison: what an interleaved run says, with its uncertainty."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with its 95 % bootstrap interval; `low` and `high` in the unit of `median`."""

    median: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Median of the pairs' figures and its 95 % interval (percentile bootstrap, fixed seed)."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Interval(statistics.median(values), medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)])


def paired(down: Sequence[float], up: Sequence[float], combine: Callable[[float, float], float]) -> Interval:
    """Interval of `combine(up, down)` over the pairs of one run, in order."""
    return interval([combine(u, d) for d, u in zip(down, up, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that `share` (0 to 1) of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
