"""Whether threads can be started: what gRPC needs, and what an agent that takes every pid leaves nobody."""

from __future__ import annotations

import threading
import time

WANTED = 12
"""Threads at once: gRPC 1.7x starts 8 on 2 cores for a client with one stream."""


AGAIN_S = 0.1


def awaited(seconds: float) -> bool:
    """Wait until there is room; False when there was none in that time. Who was killed keeps his pid until he is reaped."""
    deadline = time.monotonic() + seconds
    while not room():
        if time.monotonic() > deadline:
            return False
        time.sleep(AGAIN_S)
    return True


def room() -> bool:
    """So many threads can be started now."""
    gate = threading.Event()
    started = []
    try:
        for _ in range(WANTED):
            thread = threading.Thread(target=gate.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # Python's word for EAGAIN of clone(2)
        return False
    finally:
        gate.set()
        for thread in started:
            thread.join()
    return True
