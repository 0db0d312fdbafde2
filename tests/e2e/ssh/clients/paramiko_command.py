"""An honest program that works over SSH and reports elsewhere after each answer, from one process."""

import os
import socket

import paramiko

client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    "127.0.0.1", int(os.environ["PORT"]), "root", key_filename=os.environ["KEY"], allow_agent=False, look_for_keys=False
)
shell = client.invoke_shell()
for number in range(8):
    shell.sendall(f"echo answer {number} {'x' * 60}\n".encode())
    received = b""
    while f"answer {number} x".encode() not in received.replace(b"echo ", b""):
        received += shell.recv(4096)
    with socket.create_connection(("127.0.0.1", int(os.environ["TARGET"]))) as report:
        report.sendall(b"please\n")
        report.recv(4096)
