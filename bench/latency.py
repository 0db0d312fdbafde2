"""Kernel event → alert in the hands of a watching client, on an idle host and beside agents that flood it with events."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.flood import flood
from bench.host import BIN, ENVIRONMENT, PROGRAMS, up
from bench.row import Row
from bench.stats import Interval, interval, percentile

QUIET_SECONDS = 0.05  # between two triggers, so that each meets an idle pipeline
SETTLED_S = 3.0
"""Seconds that daemons have been up, and their load there: a sensor that finds no plane yet tries again within one."""
AGENT_ALERTS = 100
"""Triggers of one agent: fewer than what its detector says one by one."""
LOAD = 20_000
"""Events a second of the other agents."""


@contextmanager
def _listener() -> Iterator[int]:
    """A server that keeps what it accepts; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held = []

        def serve() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
    for each in held:
        each.close()


def measure(count: int) -> list[Row]:
    """Rows p50 and p99, milliseconds, of `count` SSH banners that agents send, each from a process of its own."""
    from rubicon import Client

    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    rows = []
    for load, bar in ((0, 100), (LOAD, 500)):
        with ExitStack() as stack:
            stack.enter_context(up())
            client = stack.enter_context(Client())
            port = stack.enter_context(_listener())
            seconds = count * (QUIET_SECONDS + 0.1) + 10
            if load:
                stack.enter_context(flood(load, seconds))
            time.sleep(SETTLED_S)
            delays = _delays(client, count, port)
        where = f"at {load:,} events/s".replace(",", " ") if load else "idle"
        p99 = percentile(delays, 0.99)
        rows += [
            Row(f"kernel event → alert, {where}, p50", "ms", interval(delays), None if load else 20, count),
            Row(f"kernel event → alert, {where}, p99 (to max)", "ms", Interval(p99, p99, max(delays)), bar, count),
        ]
    return rows


def _delays(client: object, count: int, port: int) -> list[float]:
    """Milliseconds from the kernel time of each banner's record to its alert here."""
    arrivals: queue.Queue[tuple[str, float]] = queue.Queue()

    def watch() -> None:
        for alert in client.alerts.watch(detector="ssh-outbound"):  # type: ignore[attr-defined]
            arrivals.put((alert.id, time.time() - alert.time_ns / 1e9))

    threading.Thread(target=watch, daemon=True).start()
    command = [str(BIN / "rubicon"), "run", "-q", "--", "python3", str(PROGRAMS / "banners.py"), str(port)]
    for sent in range(0, count, AGENT_ALERTS):
        arguments = [str(min(AGENT_ALERTS, count - sent)), str(QUIET_SECONDS)]
        subprocess.run([*command, *arguments], env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    first: dict[str, float] = {}
    while len(first) < count:
        found, delay = arrivals.get(timeout=20)
        first.setdefault(found, delay * 1000)  # a later state of the same alert is no new one
    return list(first.values())
