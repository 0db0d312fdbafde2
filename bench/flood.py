"""Agents that flood the host with events, by programs/flood.c."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.host import BIN, ENVIRONMENT, compiled

AGENT_RATE = 17_000
"""Events a second of one agent, at most: half of them are of the class that is dropped above 10 000 a second (`bulk_rate`)."""


@dataclass(frozen=True)
class Flooder:
    """One agent; its program prints how many records it has made."""

    name: str
    process: subprocess.Popen[str]


@contextmanager
def flood(rate: int, seconds: float, forks: int = 0) -> Iterator[list[Flooder]]:
    """`rate` events a second of as many agents as it takes, for `seconds` unless the block ends before; `forks` processes a
    second are among them."""
    program = str(compiled("flood"))
    agents = -(-rate // AGENT_RATE)
    running = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("0.0.0.0", 0))  # every address of loopback; what nobody reads is dropped
        port = sink.getsockname()[1]
        for number in range(agents):
            name = f"flood-{time.time_ns()}-{number}"
            command = [str(BIN / "rubicon"), "run", "-q", "--name", name, "--", program]
            command += [str(rate // agents), str(seconds), str(forks // agents), str(port)]
            running.append(Flooder(name, subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)))
        try:
            yield running
        finally:
            for each in running:
                each.process.terminate()
                each.process.communicate(timeout=30)
