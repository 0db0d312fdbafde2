"""What tests of isolation do: an agent that uses sockets as it is told, connections taken, orders given."""

from __future__ import annotations

import socket

from rubicon.v1 import response_pb2
from sensor.act.containing import Containing
from sensor.act.registry import Living
from tests.sensor.act.stage import Stage

VERIFIED = response_pb2.RESPONSE_STATE_VERIFIED

CLIENT = """
import socket, sys
kinds = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "mptcp": (socket.SOCK_STREAM, 262)}
held = {}
for line in sys.stdin:
    verb, kind, family, address, port = line.split()
    try:
        if verb == "connect":
            held[kind, family] = socket.socket(getattr(socket, family), *kinds[kind])
            held[kind, family].settimeout(5)
            held[kind, family].connect((address, int(port)))
        elif verb == "send":
            held[kind, family].send(b"x" * 100)
        elif verb == "sendto":
            held[kind, family] = socket.socket(getattr(socket, family), *kinds[kind])
            held[kind, family].sendto(b"x", (address, int(port)))
        elif verb == "recv":
            held[kind, family].settimeout(0.3)
            print(len(held[kind, family].recv(100)), flush=True)
            continue
        print(0, flush=True)
    except TimeoutError:
        print("timeout", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


class Client:
    """An agent that does with sockets as it is told."""

    def __init__(self, stage: Stage) -> None:
        self.agent, self.process = stage.launch("/usr/bin/python3", "-S", "-c", CLIENT)

    def __call__(self, verb: str, kind: str, family: str = "AF_INET", address: str = "-", port: int = 0) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{verb} {kind} {family} {address} {port}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


accepted: list[socket.socket] = []
"""Closed after each test."""


def accept(server: socket.socket) -> socket.socket:
    server.settimeout(5)
    connection = server.accept()[0]
    connection.settimeout(5)
    accepted.append(connection)
    return connection


def drain(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def isolate(stage: Stage, agent: Living, ttl_ns: int = 0, **isolation: object) -> response_pb2.Response:
    order = Containing(ttl_ns=ttl_ns, isolation=response_pb2.Isolation(**isolation))  # type: ignore[arg-type]
    return stage.containment.isolate(agent, order)


def release(stage: Stage, agent: Living) -> response_pb2.Response:
    return stage.containment.release(agent, Containing())
