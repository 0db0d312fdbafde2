"""A ProxyCommand: its standard input and output, through TLS, to the port in its argument.

One thread: a TLS connection of Python's is not to be read and written at once (before 3.13 records came out damaged).
"""

import os
import select
import socket
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))


def inward() -> bool:
    """Passes on all that has come; False at the end."""
    connection.setblocking(False)
    try:
        while data := connection.recv(65536):
            os.write(1, data)
    except ssl.SSLWantReadError:
        return True
    finally:
        connection.setblocking(True)
    return False


while True:
    ready, _, _ = select.select([0, connection], [], [])
    if connection in ready and not inward():
        break
    if 0 in ready:
        if not (data := os.read(0, 65536)):
            break
        connection.sendall(data)
