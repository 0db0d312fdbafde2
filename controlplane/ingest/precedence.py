"""Stops go before batches: while one is under way, intake waits, so that the stop has the event loop and the disk to itself.

Bounded, so that no series of stops, and none that hangs, keeps events out: intake is held for MOST seconds at a time, and has
as long for itself after that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

MOST = 0.5
"""Seconds. A kill of a fork bomb takes half of it at most; a sensor's window and its spool hold what comes meanwhile."""


class Precedence:
    """For the event loop's thread."""

    def __init__(self) -> None:
        self.hurry: Callable[[], None] = lambda: None
        """Called when a stop begins."""
        self._under_way = 0
        self._since = 0.0
        self._free_until = 0.0
        self._over = asyncio.Event()
        self._over.set()

    @contextlib.contextmanager
    def stop(self) -> Iterator[None]:
        """A stop is under way inside the block."""
        if not self._under_way:
            self._since = max(asyncio.get_running_loop().time(), self._free_until)
            self._over.clear()
        self.hurry()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._over.set()

    async def turn(self) -> None:
        """Return when intake may go on: at once, unless a stop is under way."""
        if self._over.is_set():
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._since <= now < self._since + MOST:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._since + MOST):
                await self._over.wait()
        self._free_until = 2 * loop.time() - self._since
