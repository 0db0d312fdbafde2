"""An honest worker: one long connection tells it what to do, and for each message it asks a service beside it."""

import os
import socket


def read(connection: socket.socket) -> bytes:
    received = b""
    while len(received) < 48000:
        received += connection.recv(65536)
    return received


where = ("127.0.0.1", int(os.environ["TARGET"]))
with socket.create_connection(where) as queue:
    for _ in range(10):
        queue.sendall(b"next\n")
        message = read(queue)
        with socket.create_connection(where) as service:
            service.sendall(message[:60])
            answer = read(service)
        queue.sendall(answer[:60])
        read(queue)
