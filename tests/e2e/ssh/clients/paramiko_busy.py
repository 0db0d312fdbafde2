"""An honest program with many short exchanges: each answer over SSH is reported to a service on a connection of its own,
in messages of all sizes. Some sizes agree by chance."""

import os
import random
import socket

import paramiko

sizes = random.Random(1)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    "127.0.0.1", int(os.environ["PORT"]), "root", key_filename=os.environ["KEY"], allow_agent=False, look_for_keys=False
)
transport = client.get_transport()
assert transport
cat = transport.open_session()
cat.exec_command("cat")
for _ in range(150):
    size = sizes.randint(10, 300)
    cat.sendall(b"c" * size)
    while size > 0:
        size -= len(cat.recv(size))
    with socket.create_connection(("127.0.0.1", int(os.environ["TARGET"]))) as service:
        for _ in range(2):
            wanted = sizes.randint(10, 300)
            service.sendall(f"say {wanted} {'r' * sizes.randint(1, 300)}".encode())
            while wanted > 0:
                wanted -= len(service.recv(wanted))
