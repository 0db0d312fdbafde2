"""A remote forward by a client of one's own that avoids what a usual one shows: `wait` connects only a while after it
was asked to, `child` has a child process connect."""

import os
import socket
import subprocess
import sys
import threading
import time

import paramiko

transport = paramiko.Transport(("127.0.0.1", int(os.environ["PORT"])))
transport.connect(username="root", pkey=paramiko.Ed25519Key.from_private_key_file(os.environ["KEY"]))


def serve(channel: paramiko.Channel) -> None:
    if sys.argv[1] == "child":
        near = subprocess.Popen(
            ["nc", "127.0.0.1", os.environ["TARGET"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert near.stdin
        assert near.stdout
        send, receive = near.stdin.write, near.stdout.read
    else:
        time.sleep(0.4)
        connection = socket.create_connection(("127.0.0.1", int(os.environ["TARGET"])))
        send, receive = connection.sendall, connection.recv

    def back() -> None:
        while data := receive(32768):
            channel.sendall(data)
        channel.close()

    threading.Thread(target=back, daemon=True).start()
    while data := channel.recv(32768):
        send(data)


transport.request_port_forward("127.0.0.1", int(os.environ["LISTEN"]))
while (channel := transport.accept(60)) is not None:
    threading.Thread(target=serve, args=(channel,), daemon=True).start()
