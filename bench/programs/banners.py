"""Open COUNT connections to PORT on loopback, one every PAUSE seconds, and send an SSH banner on each."""

import socket
import sys
import time

port, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
held = []
for _ in range(count):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"SSH-2.0-bench\r\n")
    held.append(connection)
    time.sleep(pause)
