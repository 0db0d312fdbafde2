"""An honest program that fetches files over SFTP and stores each one elsewhere, from one process."""

import os
import socket

import paramiko

transport = paramiko.Transport(("127.0.0.1", int(os.environ["PORT"])))
transport.connect(username="root", pkey=paramiko.Ed25519Key.from_private_key_file(os.environ["KEY"]))
files = paramiko.SFTPClient.from_transport(transport)
assert files
for name in ("/etc/hostname", "/etc/passwd", "/etc/services"):
    with files.open(name) as file:
        data = file.read()
    with socket.create_connection(("127.0.0.1", int(os.environ["TARGET"]))) as store:
        store.sendall(data[:60])
        store.recv(4096)
transport.close()
