"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `first` to `cap` seconds, with jitter: many sensors that lost one plane do not come back in step."""

    def __init__(self, first: float = 0.05, cap: float = 5.0, rng: random.Random | None = None) -> None:
        self._first = first
        self._cap = cap
        self._delay = first
        self._random = rng or random.Random()

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now: between half of the present delay and all of it, and never less than half of
        `at_least`."""
        delay = max(self._delay, at_least)
        self._delay = min(self._delay * 2, self._cap)
        return delay * (0.5 + self._random.random() / 2)

    def reset(self) -> None:
        """It worked: the next failure is tried again at once."""
        self._delay = self._first
