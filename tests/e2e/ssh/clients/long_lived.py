"""An honest connection that lives, with messages both ways, and is not SSH."""

import os
import socket
import time

with socket.create_connection(("127.0.0.1", int(os.environ["TARGET"]))) as connection:
    for _ in range(20):
        connection.sendall(b"please\n")
        received = 0
        while received < 48000:
            received += len(connection.recv(65536))
        time.sleep(0.03)
