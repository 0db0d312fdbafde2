"""When what was read from the ring is made durable and sent.

Every time costs the same, however little is in it: a sync here, a message, a transaction in the plane. Births and ends of
processes are most of what a build or a test run makes, and what detectors act on comes with something else: a connection, a
first packet, a program that this agent has not run before. So the former wait for company, and the latter leaves at once and
takes them along. Without a pause, times are further and further apart.
"""

from __future__ import annotations

import time

from sensor.kernel.enums import EventKind

LEAST_SECONDS = 0.005
"""Times are at least this far apart, so that a burst is one."""
SOON_SECONDS = 0.03
"""What is prompt waits so long at most; the others at first."""
MOST_SECONDS = 0.5
"""Nothing waits longer."""
SOON_PAUSE_SECONDS, PAUSE_SECONDS = 0.03, 0.5
"""So long with nothing after one, and the next time is as close as at first: what is prompt, the others."""
SOON_LATER, LATER = 1.1, 1.5
"""So much further apart each time."""
LOOK_SECONDS = 0.008
"""How often to look into the ring for more while something waits that is prompt."""
MANY = 64
"""So many records that wait may be the beginning of a flood: then the ring is looked into more often."""
EACH_SECONDS = 0.0005
"""A flood goes in few large lots: so much more distance for each record of the last one."""


class Pace:
    """For one reader of a ring; times are time.monotonic(), as an event loop's."""

    def __init__(self) -> None:
        self._stored = 0.0
        self._distance = LEAST_SECONDS
        self._patience = SOON_SECONDS
        self._since = 0.0
        self._waiting = 0
        self._prompt = False

    def add(self, kind: int, new: bool = False) -> None:
        """A record of this kind (enum event_kind) waits from now on; forks, execs and exits wait for company, except `new`
        ones."""
        self._begin()
        self._waiting += 1
        if new or kind > EventKind.EXIT:  # as in wakeup_flags() of bpf/emit.bpf.h
            self._prompt = True

    def hurry(self) -> None:
        """Something waits that is no record of the ring."""
        self._begin()
        self._prompt = True

    def _begin(self) -> None:
        if not self._waiting and not self._prompt:
            self._since = time.monotonic()

    @property
    def look_seconds(self) -> float:
        """How often to look for more while something waits: more seldom while nothing does that is prompt, for the kernel wakes
        us for that."""
        if self._prompt:
            return LOOK_SECONDS
        return SOON_SECONDS if self._waiting >= MANY else max(SOON_SECONDS, self._patience / 2)

    @property
    def due(self) -> float:
        """When what waits is to be stored."""
        return self._stored + self._distance if self._prompt else self._since + self._patience

    def stored(self, now: float) -> None:
        """Nothing waits any more."""
        quiet = self._since - self._stored
        self._distance = self._distance * SOON_LATER if quiet < SOON_PAUSE_SECONDS else 0.0
        self._distance = min(SOON_SECONDS, max(LEAST_SECONDS, self._waiting * EACH_SECONDS, self._distance))
        self._patience = min(MOST_SECONDS, self._patience * LATER) if quiet < PAUSE_SECONDS else SOON_SECONDS
        self._stored = now
        self._waiting = 0
        self._prompt = False
