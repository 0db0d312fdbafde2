"""How long a freeze or an isolation may last: one rule for who asks, for the plane and for the sensor."""

from __future__ import annotations

LONGEST_S = 366 * 86_400
"""Seconds: a year, whichever. What is to last longer is given no end."""
RULE = "use more than zero and at most 366 days, or leave it out for no end"


def checked(ttl_ns: int) -> int:
    """The same, nanoseconds, when it may be.

    Raises:
        ValueError: it is not above zero, or longer than LONGEST_S; the message says what to use.
    """
    if not 0 < ttl_ns <= LONGEST_S * 10**9:
        raise ValueError(f"ttl: {RULE}")
    return ttl_ns


def of_seconds(seconds: float) -> int:
    """Nanoseconds of so many seconds, rounded, when that may be.

    Raises:
        ValueError: as `checked`; also for what is no number.
    """
    if not 0 < seconds <= LONGEST_S:  # before it is rounded: inf and nan cannot be
        raise ValueError(f"ttl {seconds!r}: {RULE}")
    return max(1, round(seconds * 1e9))
