"""The outside world of an agent: takes what arrives, and knows when the last of it came.

A process of its own before all others, for it stands for another host, which does not share these processors: `python -m
bench.outside` prints its port, and for each line that it reads when the last of each kind came.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = ("connection", "byte", "datagram")


class Outside:
    """One that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._asks, self._answers = process.stdin, process.stdout
        self.port = int(self._answers.readline())
        """Of loopback, for TCP and UDP."""

    def last_ns(self) -> dict[str, int]:
        """When the last of each kind came, Unix time; 0 for none."""
        print(file=self._asks, flush=True)
        return {str(kind): int(when) for kind, when in json.loads(self._answers.readline()).items()}

    def beating(self) -> None:
        """Return once all three arrive.

        Raises:
            RuntimeError: they do not.
        """
        deadline = time.monotonic() + 20
        while min((last := self.last_ns()).values()) < time.time_ns() - 20_000_000:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all arrives outside: {last}")
            time.sleep(0.001)

    def silent(self) -> int:
        """When the last of all came, once nothing has for a while.

        Raises:
            RuntimeError: something still comes.
        """
        last = self.last_ns()
        time.sleep(0.1)
        if (then := self.last_ns()) != last:
            raise RuntimeError(f"something still arrives outside: {last}, {then}")
        return max(last.values())


@contextmanager
def outside() -> Iterator[Outside]:
    """It runs inside the block."""
    command = [sys.executable, "-m", "bench.outside"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Outside(process)  # leaving closes its stdin, which ends it


def _serve() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    listener, datagrams = socket.create_server(("127.0.0.1", 0), backlog=4096), socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind(listener.getsockname())
    print(listener.getsockname()[1], flush=True)
    last, held, poll = dict.fromkeys(KINDS, 0), dict[int, socket.socket](), select.epoll()
    for each in (listener, datagrams, sys.stdin):
        poll.register(each, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                print(json.dumps(last), flush=True)
            elif number == listener.fileno():
                connection = listener.accept()[0]
                held[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
                last["connection"] = time.time_ns()
            elif number == datagrams.fileno():
                datagrams.recv(64)
                last["datagram"] = time.time_ns()
            elif _received(held[number]):
                last["byte"] = time.time_ns()
            else:
                poll.unregister(number)
                held.pop(number).close()


def _received(connection: socket.socket) -> bytes:
    """Nothing at its end, however it ended."""
    try:
        return connection.recv(4096)
    except OSError:
        return b""


if __name__ == "__main__":
    _serve()
