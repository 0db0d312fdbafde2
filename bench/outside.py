"""The outside world of an agent: takes what arrives, and knows when the last of it came."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Outside:
    """Listens on one port of loopback for TCP and UDP, in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._listener.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", self.port))
        self.last_ns = dict.fromkeys(("connection", "byte", "datagram"), 0)
        """When the last of each was taken, Unix time; no earlier than it came."""
        self._ended = False

    def _serve(self) -> None:
        poll = select.epoll()
        held: dict[int, socket.socket] = {}
        for each in (self._listener, self._datagrams):
            each.setblocking(False)
            poll.register(each, select.EPOLLIN)
        while not self._ended:
            for number, _ in poll.poll(0.1):
                if number == self._listener.fileno():
                    connection = self._listener.accept()[0]
                    held[connection.fileno()] = connection
                    poll.register(connection, select.EPOLLIN)
                    what = "connection"
                elif number == self._datagrams.fileno():
                    self._datagrams.recv(64)
                    what = "datagram"
                else:
                    try:
                        came = held[number].recv(4096)
                    except OSError:
                        came = b""
                    if not came:
                        poll.unregister(number)
                        held.pop(number).close()
                        continue
                    what = "byte"
                self.last_ns[what] = time.time_ns()
        for connection in held.values():
            connection.close()
        poll.close()

    def beating(self) -> None:
        """Return once all three arrive.

        Raises:
            RuntimeError: they do not.
        """
        deadline = time.monotonic() + 20
        while min(self.last_ns.values()) < time.time_ns() - 20_000_000:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all arrives outside: {self.last_ns}")
            time.sleep(0.001)

    def silent(self) -> int:
        """When the last of all came, once nothing has for a while.

        Raises:
            RuntimeError: something still comes.
        """
        last = max(self.last_ns.values())
        time.sleep(0.1)
        if max(self.last_ns.values()) > last:
            raise RuntimeError(f"something still arrives outside: {self.last_ns}")
        return last

    @contextmanager
    def listening(self) -> Iterator[Outside]:
        """Takes what arrives inside the block."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended = True
            thread.join()
            self._listener.close()
            self._datagrams.close()
