"""The outside's side of a tunnel: asks through PORT (or a Unix socket) until something answers, and prints what came.

    puller.py WHERE SECONDS SOCKS_TARGET_PORT CHATTY

With a SOCKS_TARGET_PORT other than 0 WHERE speaks SOCKS5, and 127.0.0.1:SOCKS_TARGET_PORT is asked for. With CHATTY 1
a talk in small messages comes first.
"""

import socket
import sys
import time

where, seconds = sys.argv[1], float(sys.argv[2])
target, chatty = int(sys.argv[3]), int(sys.argv[4])
EXPECTED = 48000


def ask() -> bytes:
    if where.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(where)
    else:
        connection = socket.create_connection(("127.0.0.1", int(where)), 2)
    with connection:
        connection.settimeout(5)
        if target:
            connection.sendall(b"\x05\x01\x00")
            if connection.recv(2) != b"\x05\x00":
                return b""
            connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
            if connection.recv(10)[:2] != b"\x05\x00":
                return b""
        for size in (50, 200, 700, 120, 900, 300) if chatty else ():
            connection.sendall(f"say {size} {'y' * (size // 2)}\n".encode())
            while size > 0 and (chunk := connection.recv(size)):
                size -= len(chunk)
        connection.sendall(b"please\n")
        received = b""
        while len(received) < EXPECTED and (chunk := connection.recv(65536)):
            received += chunk
        return received


end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        received = ask()
    except OSError:
        received = b""
    if received:
        sys.stdout.buffer.write(received)
        break
    time.sleep(0.05)
