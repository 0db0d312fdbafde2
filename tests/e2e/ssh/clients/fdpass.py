"""A ProxyCommand for ProxyUseFdpass: connects, hands the socket to the client on its standard output, and ends."""

import os
import socket

with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as connection:
    client = socket.socket(fileno=1)
    socket.send_fds(client, [b"\0"], [connection.fileno()])
