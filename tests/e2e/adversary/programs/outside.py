"""The other side, in a network namespace of its own: it answers whoever comes, dials whoever asks, and counts.

outside.py DEVICE TCP UDP: a line on stdin gets one: how many packets have come from the other side so far, and what the last
ones were. Not counted: what the kernel sends by itself and no process can fill (neighbours; resets and acknowledgements without
payload, of connections that are over).
"""

from __future__ import annotations

import collections
import contextlib
import socket
import sys
import threading

DEVICE = sys.argv[1]
TCP_PORT, UDP_PORT = map(int, sys.argv[2:4])
RESET, ACKNOWLEDGEMENT = 0x04, 0x10
counted = 0
slow: list[socket.socket] = []
last: collections.deque[str] = collections.deque(maxlen=8)


def serve() -> None:
    server = socket.create_server(("::", TCP_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
    while True:
        connection, peer = server.accept()
        threading.Thread(target=answer, args=(connection, peer[0]), daemon=True).start()


def read_nothing() -> None:
    """Until it is asked to: then everything that comes is read."""
    server = socket.create_server(("::", TCP_PORT + 10), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000)
    while True:
        slow.append(server.accept()[0])


def read_all() -> None:
    for connection in slow:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass


def answer(connection: socket.socket, peer: str) -> None:
    with contextlib.suppress(OSError):
        connection.recv(5)
        connection.send(b"x")
        while word := connection.recv(10):
            if word.startswith(b"dial"):
                threading.Thread(target=dial, args=(peer, int(word[5:])), daemon=True).start()


def dial(peer: str, port: int) -> None:
    """Again and again, and send something: an answer would count."""
    held = []
    for _ in range(10_000):
        with contextlib.suppress(OSError):
            made = socket.create_connection((peer, port), timeout=0.2)
            held.append(made)
            made.send(b"here")
        threading.Event().wait(0.02)


def own(frame: bytes) -> str:
    """What a process of the other side has sent; empty for the kernel's own."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == 0x0800:
        at, protocol, length = (
            14 + (frame[14] & 15) * 4,
            frame[23],
            int.from_bytes(frame[16:18], "big") - (frame[14] & 15) * 4,
        )
    elif kind == 0x86DD:
        at, protocol, length = 54, frame[20], int.from_bytes(frame[18:20], "big")
        if protocol == 0 and frame[74:76] == b"\xff\x05":
            return (
                f"joined {frame[74:90].hex()}"  # a group that a process has chosen: the kernel's own are of this link
            )
        if protocol == 0 or (protocol == 58 and 130 <= frame[54] <= 143):  # multicast listeners, neighbours
            return ""
    else:
        return ""
    if protocol == 6:
        payload = length - (frame[at + 12] >> 4) * 4
        if not payload and (frame[at + 13] & RESET or frame[at + 13] == ACKNOWLEDGEMENT):
            return ""
        source, target = int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")
        return f"tcp {source}>{target} flags {frame[at + 13]:#x} payload {payload}"
    if protocol == 2:
        return f"joined {frame[at + 12 : at + 16].hex()}" if frame[at + 12] == 239 else ""
    return f"protocol {protocol}: {frame[at : at + 16].hex()}"


def listen() -> None:
    global counted
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as packets:
        packets.bind((DEVICE, 3))
        print("ready", flush=True)
        while True:
            frame, address = packets.recvfrom(65536)
            if address[2] != 4 and (what := own(frame)):  # not what this side sends
                counted += 1
                last.append(what)


datagrams = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2)]
for offset, each in enumerate(datagrams):
    each.bind(("::", UDP_PORT + offset))
for work in (serve, read_nothing, listen):
    threading.Thread(target=work, daemon=True).start()
for line in sys.stdin:
    if line.startswith("read"):
        read_all()
    print(counted, "; ".join(last), flush=True)
