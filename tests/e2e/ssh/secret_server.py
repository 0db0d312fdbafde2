"""A server inside the house, on a TCP port and on a Unix socket: answers each message with the secret, or with N bytes
when it begins with `say N`."""

import socket
import sys
import threading

SECRET = b"the inside of the house " * 2000


def serve(connection: socket.socket) -> None:
    with connection:
        while asked := connection.recv(4096):
            words = asked.split()
            connection.sendall(b"x" * int(words[1]) if words[0] == b"say" else SECRET)


def accept(listener: socket.socket) -> None:
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted,), daemon=True).start()


port, path = int(sys.argv[1]), sys.argv[2]
inside = socket.socket(socket.AF_UNIX)
inside.bind(path)
inside.listen()
threading.Thread(target=accept, args=(inside,), daemon=True).start()
accept(socket.create_server(("127.0.0.1", port)))
