"""Agents that open a reverse tunnel, as far as a detector can see, and the server at its other end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.host import compiled
from rubicon import Agent, Client
from tests.e2e.host import Host, until


@dataclass
class Server:
    """Answers every connection with a banner, as sshd does, and keeps it."""

    port: int
    held: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connection.sendall(b"SSH-2.0-OpenSSH_test\r\n")
            self.held.append(connection)

    def is_cut(self, connection: socket.socket) -> bool:
        """The other end has gone; what it sent before does not count."""
        connection.setblocking(False)
        try:
            while data := connection.recv(4096):
                assert data
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(int(listener.getsockname()[1]))
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
    for connection in server.held:
        connection.close()


def tunnel(host: Host, port: int, name: str, *options: str) -> subprocess.Popen[str]:
    """An agent that does what `ssh -R` does, up to the banner."""
    program = [str(compiled("tunnel")), "-N", "-R", "9000:127.0.0.1:8000", "-p", str(port), "127.0.0.1"]
    command = host.command("run", "-q", "--name", name, *options, "--", *program)
    return subprocess.Popen(
        command, env={**host.environment, "CHILDREN": "3"}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def alert_of(host: Host, name: str) -> dict[str, Any]:
    """The agent's alert of the rule, once it is there."""

    def look() -> dict[str, Any] | None:
        done = host.rubicon("alerts", name, "--json")
        found = host.json("alerts", name) if done.returncode == 0 else []
        return next((each for each in found if each["detector"] == "ssh-remote-forward"), None)

    found: dict[str, Any] = until(look)
    return found


def agent_of(client: Client, name: str) -> Agent:
    found: Agent = until(lambda: next((each for each in client.agents.list(all=True) if each.name == name), None))
    return found
