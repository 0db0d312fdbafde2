"""What memory the sensor takes on each host of a cluster."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8


def only_one() -> None:
    """One heap for all threads: glibc gives each of the first ones its own, and what one frees another cannot use. Our threads
    wait for the interpreter anyway. To be called before there are any; a libc that has no such heaps needs it not."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
