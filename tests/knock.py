"""A client that connects and sends a byte, again and again: whoever denies it something must do so without a gap."""

from __future__ import annotations

KNOCK = """
import socket, sys, time
while True:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=1) as connection:
            connection.sendall(b"x")
    except OSError:
        pass
    time.sleep(0.001)
"""
"""Python, for `python3 -c KNOCK PORT`."""
