"""Ctrl-C: a command ends at once, quietly, with 130, from its first instruction on.

Python's own way, an exception out of the blue, shows a traceback wherever nobody catches it: while modules load, inside a
library's callbacks, at the interpreter's end. A command that has something to tidy up asks for the exception (`raising`).
SIGTERM and SIGHUP end a process quietly by themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes milliseconds to load, in which Ctrl-C would still be Python's
    from collections.abc import Callable, Iterator
    from types import FrameType


def end(number: int, _frame: FrameType | None) -> None:
    """The handler. Output needs no care: every line is flushed when it is written."""
    os._exit(128 + number)


def quietly() -> None:
    """From now on, also for one that was held back; a SIGINT that is ignored (nohup, a shell's background job) stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Inside, Ctrl-C is a KeyboardInterrupt again, for what must be tidied up."""
    before = signal.getsignal(signal.SIGINT)
    if before is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if before is end:
            signal.signal(signal.SIGINT, end)


@contextlib.contextmanager
def told(handler: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls a function, for what must be said about work under way; the second ends the command."""
    before = signal.getsignal(signal.SIGINT)
    ours = before in (end, signal.default_int_handler)

    def first(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, end)
        handler()

    if ours:
        signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
