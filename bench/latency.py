"""Kernel event → alert in the hands of a watching client."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
import time

from bench.host import BIN, ENVIRONMENT, PROGRAMS, up
from bench.row import Row
from bench.stats import Interval, interval, percentile

QUIET_SECONDS = 0.05  # between two triggers, so that each meets an idle pipeline


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve() -> None:
        held = []
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return listener


def measure(count: int) -> list[Row]:
    """Rows p50 and p99, milliseconds, of `count` SSH banners that an idle host's agent sends."""
    from rubicon import Client

    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    arrivals: queue.Queue[float] = queue.Queue()
    listener = _listener()
    with up(), Client() as client:

        def watch() -> None:
            for alert in client.alerts.watch(detector="ssh-outbound"):
                arrivals.put(time.time() - alert.time.timestamp())

        threading.Thread(target=watch, daemon=True).start()
        command = [str(BIN / "rubicon"), "run", "--", "python3", str(PROGRAMS / "banners.py")]
        arguments = [str(listener.getsockname()[1]), str(count), str(QUIET_SECONDS)]
        subprocess.run([*command, *arguments], env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
        delays = [arrivals.get(timeout=10) * 1000 for _ in range(count)]
    listener.close()
    p99 = percentile(delays, 0.99)
    return [
        Row("kernel event → alert, idle, p50", "ms", interval(delays), 20, count),
        Row("kernel event → alert, idle, p99", "ms", Interval(p99, p99, max(delays)), 100, count),
    ]
