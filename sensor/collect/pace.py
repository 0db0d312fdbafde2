"""When what was read from the ring is made durable and sent.

Every time costs the same, however little is in it: a sync here, a message, a transaction in the plane. Births and ends of
processes are most of what a build or a test run makes, and what detectors act on comes with something else: a connection, a
first packet. So the former wait for company, and the latter leaves at once and takes them along. After a pause, so does
whatever comes first.
"""

from __future__ import annotations

from sensor.kernel.enums import EventKind

LEAST_SECONDS = 0.005
"""Times are at least this far apart, so that a burst is one."""
MOST_SECONDS = 0.04
"""Nothing waits longer: less than half of the 100 ms from event to alert."""
EACH_SECONDS = 0.0005
"""A flood goes in few large lots: so much more space for each record of the last one."""
_PATIENT = frozenset((EventKind.FORK, EventKind.EXEC, EventKind.EXIT))


class Pace:
    """For one reader of a ring; times are the event loop's."""

    def __init__(self) -> None:
        self._stored = 0.0
        self._pause = LEAST_SECONDS
        self._waiting = 0
        self._prompt = False

    def add(self, kind: int) -> None:
        """A record of this kind (enum event_kind) waits from now on."""
        self._waiting += 1
        if kind not in _PATIENT:
            self._prompt = True

    def hurry(self) -> None:
        """Something waits that is no record of the ring."""
        self._prompt = True

    @property
    def due(self) -> float:
        """When what waits is to be stored."""
        return self._stored + (self._pause if self._prompt else MOST_SECONDS)

    def stored(self, now: float) -> None:
        """Nothing waits any more."""
        self._stored = now
        self._pause = min(MOST_SECONDS, max(LEAST_SECONDS, self._waiting * EACH_SECONDS))
        self._waiting = 0
        self._prompt = False
