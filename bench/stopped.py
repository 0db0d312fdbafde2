"""Detect → stopped: from the kernel event that decides the alert until the last process of the agent is dead."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time

from bench.host import BIN, ENVIRONMENT, compiled, up
from bench.row import Row
from bench.stats import Interval, interval, percentile
from rubicon import Agent, AgentKilledError, Client

CHILDREN = 8
"""Processes beside the client that tunnels."""
BAR_MS = 250


def _server() -> socket.socket:
    """Answers every connection with a banner, as sshd does, and keeps it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    held = []

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connection.sendall(b"SSH-2.0-OpenSSH_bench\r\n")
            held.append(connection)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def measure(count: int) -> list[Row]:
    """Rows p50, p99 and max, milliseconds, of `count` agents under on_alert=kill that open a reverse tunnel on an idle
    host. Both times are the kernel's: of the event that made the alert high, and of the last exit."""
    os.environ["RUBICON_INSTANCE"] = ENVIRONMENT["RUBICON_INSTANCE"]
    program, server = str(compiled("tunnel")), _server()
    port = str(server.getsockname()[1])
    delays = []
    with up(), Client() as client:
        for turn in range(count):
            name = f"tunnel-{turn}"
            command = [str(BIN / "rubicon"), "run", "-q", "--name", name, "--on-alert", "kill", "--"]
            command += [program, "-N", "-R", "9000:127.0.0.1:8000", "-p", port, "127.0.0.1"]
            done = subprocess.run(
                command, env={**ENVIRONMENT, "CHILDREN": str(CHILDREN)}, capture_output=True, timeout=60, check=False
            )
            if done.returncode != 137:
                raise RuntimeError(f"the tunnel was not stopped ({done.returncode}): {done.stderr.decode()}")
            delays.append(_delay(client.agents.get(name)))
    server.close()
    what = f"kernel event → last of {CHILDREN + 1} processes dead, on_alert=kill, idle"
    p99 = percentile(delays, 0.99)
    return [
        Row(f"{what}, p50", "ms", interval(delays), BAR_MS, count),
        Row(f"{what}, p99 (to max)", "ms", Interval(p99, p99, max(delays)), BAR_MS, count),
    ]


def _delay(agent: Agent) -> float:
    """Milliseconds from the event of its alert to its last exit, once both are stored."""
    try:
        agent.wait(timeout=10)
        raise RuntimeError(f"{agent.name} was not killed")
    except AgentKilledError as error:
        alert = agent.client.alerts.get(error.alert_id)
    deadline = time.monotonic() + 10
    while True:
        processes = agent.tree(all=True).processes
        if len(processes) == CHILDREN + 1 and not any(process.alive for process in processes):
            return max(process.ended_at_ns for process in processes) / 1e6 - alert.time_ns / 1e6
        if time.monotonic() > deadline:
            raise RuntimeError(f"{agent.name}: {len(processes)} processes are known")
        time.sleep(0.02)
