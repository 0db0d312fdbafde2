"""An agent of three processes: a root, and two children that do with sockets as they are told."""

from __future__ import annotations

from rubicon.v1 import response_pb2
from sensor.act.containing import Containing
from tests.sensor.act.stage import Stage

SCRIPT = """
import os, socket, sys
KINDS = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "mptcp": (socket.SOCK_STREAM, 262)}
held = {}

def make(kind):
    held[kind] = socket.socket(socket.AF_INET, *KINDS[kind])
    held[kind].settimeout(5)
    return held[kind]

def fill():
    sent = 0
    held["tcp"].setblocking(False)
    try:
        while True:
            sent += held["tcp"].send(b"x" * 65536)
    except BlockingIOError:
        return sent

def churn():
    if not os.fork():
        while True:
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

def listen(made):
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made.getsockname()[1]

def orphan():
    if os.fork():
        os._exit(0)

DO = {
    "pid": lambda link, kind, port: os.getpid(),
    "orphan": lambda link, kind, port: orphan(),
    "connect": lambda link, kind, port: make(kind).connect(("127.0.0.1", port)),
    "listen": lambda link, kind, port: listen(make(kind)),
    "fill": lambda link, kind, port: fill(),
    "close": lambda link, kind, port: held.pop(kind).close(),
    "churn": lambda link, kind, port: churn(),
    "exit": lambda link, kind, port: (print(flush=True), os._exit(0)),
    "send": lambda link, kind, port: held[kind].send(b"x" * 100),
    "sendto": lambda link, kind, port: make(kind).sendto(b"x", ("127.0.0.1", port)),
    "give": lambda link, kind, port: socket.send_fds(link, [b"x"], [held[kind].fileno()]),
    "take": lambda link, kind, port: held.update({kind: socket.socket(fileno=socket.recv_fds(link, 1, 1)[1][0])}),
    "packet": lambda link, kind, port: held.update(packet=socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
}

def serve(lines, link):
    for line in lines:
        verb, kind, port = line.split()
        try:
            print(DO[verb](link, kind, int(port)), flush=True)
        except OSError as error:
            print(error.errno, flush=True)

ends = {}
for name, link in zip(("one", "two"), socket.socketpair()):
    (there, to), (back, answer) = os.pipe(), os.pipe()
    if not os.fork():
        os.dup2(answer, 1)
        serve(os.fdopen(there), link)
        os._exit(0)
    ends[name] = os.fdopen(to, "w"), os.fdopen(back)
for line in sys.stdin:
    name, _, rest = line.partition(" ")
    ends[name][0].write(rest)
    ends[name][0].flush()
    print(ends[name][1].readline(), end="", flush=True)
"""


class Pair:
    """`one` and `two`; each call is answered with what the call returned, or the errno."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.agent, self.process = stage.launch("/usr/bin/python3", "-S", "-c", SCRIPT)

    def __call__(self, who: str, verb: str, kind: str = "tcp", port: int = 0) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{who} {verb} {kind} {port}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def pid(self, who: str) -> int:
        return int(self(who, "pid"))

    def isolate(self, who: str, **isolation: object) -> response_pb2.Response:
        order = Containing(isolation=response_pb2.Isolation(**isolation))  # type: ignore[arg-type]
        return self.stage.containment.isolate(self.agent, order, self.stage.key(self.pid(who)))

    def release(self, who: str) -> response_pb2.Response:
        return self.stage.containment.release(self.agent, Containing(), self.stage.key(self.pid(who)))
