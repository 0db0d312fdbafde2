"""Open COUNT connections to PORT on loopback, one every PAUSE seconds, and send an SSH banner on each.

Each from a process of its own: a second connection of the same process would be a repeat of the first one's alert, with
the first one's time.
"""

import os
import socket
import sys
import time

port, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for _ in range(count):
    child = os.fork()
    if not child:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"SSH-2.0-bench\r\n")
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(pause)
