"""Keeps the clone tracepoints attached while a condemned agent has living tasks, without making a kill wait for it.

Attaching a tracepoint waits for every CPU to pass a grace period. Under a fork bomb that took up to 1.6 s, where the
agent's condemned flag (which the fork and exec hooks read at once) and cgroup.kill take a millisecond. So the flag
comes first and the tracepoints follow, for the bomb that the rest does not catch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from sensor.errors import SensorError

log = structlog.get_logger(part="condemn")


class Condemner:
    """Switches between on and off in a thread of its own; what was wanted last is what comes out."""

    def __init__(self, switch: Callable[[bool], None]) -> None:
        """`switch` attaches and detaches; it may block for seconds."""
        self._switch = switch
        self._changed = threading.Condition()
        self._wanted = False
        self._is: bool | None = None
        self._worker: threading.Thread | None = None

    def want(self, on: bool) -> None:
        """Begin to attach or detach; returns at once."""
        with self._changed:
            self._wanted = on
            if self._worker is None and self._is is not on:
                self._worker = threading.Thread(target=self._work, name="condemn", daemon=True)
                self._worker.start()

    def settle(self, timeout: float) -> bool:
        """Wait until it is as it was wanted, at most `timeout` seconds; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                wanted = self._wanted
                if self._is is wanted:
                    self._worker = None
                    self._changed.notify_all()
                    return
            try:
                self._switch(wanted)
            except (OSError, SensorError) as error:
                # the fork and exec hooks still kill whoever is condemned
                log.warning("clone tracepoints could not be switched", on=wanted, error=str(error))
            self._is = wanted
