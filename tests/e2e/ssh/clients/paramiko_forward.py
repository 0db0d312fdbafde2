"""A remote forward by paramiko; all that it needs is in its environment, nothing in its arguments."""

import os
import socket
import threading

import paramiko

transport = paramiko.Transport(("127.0.0.1", int(os.environ["PORT"])))
transport.connect(username="root", pkey=paramiko.Ed25519Key.from_private_key_file(os.environ["KEY"]))


def pump(source: object, sink: object) -> None:
    while data := source.recv(32768):  # type: ignore[attr-defined]
        sink.sendall(data)  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]


transport.request_port_forward("127.0.0.1", int(os.environ["LISTEN"]))
while (channel := transport.accept(60)) is not None:
    near = socket.create_connection(("127.0.0.1", int(os.environ["TARGET"])))
    threading.Thread(target=pump, args=(channel, near), daemon=True).start()
    threading.Thread(target=pump, args=(near, channel), daemon=True).start()
