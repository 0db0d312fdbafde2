"""An agent that uses the network, and the records that the hooks made of it.

The agent's code is Python in a process of its own, held until it is tagged, in a cgroup of its own whose packets are
watched. It may print lines, which the test reads; the peer is the test process itself, which belongs to no agent.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rubicon.v1 import event_pb2
from sensor.collect.decode import decode
from sensor.kernel.enums import AgentFlag, TagFlag
from sensor.kernel.loader import Kernel

AGENT = 0xA9E27
PROGRAMS = Path(__file__).parent / "programs"
_HELD = "import sys; sys.stdin.buffer.read(1)\n"
SO_COOKIE = 57
SO_NETNS_COOKIE = 71
OWN_NAMESPACE = """
import ctypes, fcntl, socket, struct
assert not ctypes.CDLL(None).unshare(0x40000000), "unshare"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as up:
    fcntl.ioctl(up, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))
"""
"""A network namespace with a loopback interface that is up, for well-known ports."""


class Child:
    """A process of the agent, held until `go`; `output` is what it printed, once it has ended."""

    def __init__(self, process: subprocess.Popen[str], start_time: int = 0) -> None:
        self.process = process
        self.pid = process.pid
        self.start_time = start_time
        self.output = ""

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("x")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.output = self.process.communicate(timeout=20)[0].strip()
        assert self.process.returncode == 0, self.output

    def finish(self) -> None:
        self.go()
        self.end()


class NetworkAgent:
    """One agent; `events` holds every record of it so far, in the ring's order."""

    def __init__(self, kernel: Kernel, cgroup: Path) -> None:
        self.kernel = kernel
        self.cgroup = cgroup
        self.cgroup_id = cgroup.stat().st_ino
        self.events: list[event_pb2.Event] = []
        self._children: list[subprocess.Popen[str]] = []
        kernel.cgroups.add(self.cgroup_id, AGENT)
        kernel.agents.put(AGENT, self.cgroup_id, 0)
        kernel.watch_cgroup(cgroup, AGENT)

    def hold(self, *command: str, pass_fds: tuple[int, ...] = (), tag: bool = True) -> Child:
        """A command that reads one byte before it does anything, tagged and in the agent's cgroup."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds)
        self._children.append(process)
        if not tag:
            return Child(process)
        start_time = self.tag(process.pid)
        (self.cgroup / "cgroup.procs").write_text(str(process.pid))
        return Child(process, start_time)

    def tag(self, pid: int) -> int:
        """Make a process the agent's; its start time."""
        task = self.kernel.task(pid)
        assert task
        assert self.kernel.tags.add(pid, AGENT, task.start_time, TagFlag.ROOT)
        return task.start_time

    def isolate(self, also: int = 0) -> None:
        self.kernel.agents.set_flags(AGENT, on=AgentFlag.ISOLATED | also)

    def leave(self, child: Child) -> None:
        """Move a process out of the agent's cgroup, to the hierarchy's root."""
        (self.cgroup.parent.parent / "cgroup.procs").write_text(str(child.pid))

    def python(self, code: str, *arguments: object, pass_fds: tuple[int, ...] = (), tag: bool = True) -> Child:
        """Python code, held at its start."""
        return self.hold(sys.executable, "-c", _HELD + code, *map(str, arguments), pass_fds=pass_fds, tag=tag)

    def run(self, code: str, *arguments: object) -> Child:
        """Python code, run to its end."""
        child = self.python(code, *arguments)
        child.finish()
        return child

    def stopped(self, before: str, after: str, *arguments: object, tag: bool = True) -> Child:
        """Python code that has done its first half and waits for `go` before the second."""
        child = self.python(before + "print(flush=True)\nsys.stdin.buffer.read(1)\n" + after, *arguments, tag=tag)
        child.go()
        child.line()
        return child

    def read(self) -> list[event_pb2.Event]:
        """All events so far."""
        while records := self.kernel.ring.read():
            events = [decode(record) for record in records]
            self.kernel.ring.commit()
            self.events += [event for event in events if int(event.agent_id, 16) == AGENT]
        return self.events

    def of(self, kind: str, where: Callable[[event_pb2.Event], object] = lambda event: True) -> list[event_pb2.Event]:
        """Events of one kind so far."""
        return [event for event in self.read() if event.WhichOneof("kind") == kind and where(event)]

    def wait(
        self, kind: str, where: Callable[[event_pb2.Event], object] = lambda event: True, count: int = 1
    ) -> list[event_pb2.Event]:
        """Events of one kind, once there are so many."""
        deadline = time.monotonic() + 5
        while len(found := self.of(kind, where)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {kind}: {self.events}"
            time.sleep(0.005)
        return found

    def one(self, kind: str, where: Callable[[event_pb2.Event], object] = lambda event: True) -> event_pb2.Event:
        """The only event of its kind, once it is there."""
        found = self.wait(kind, where)
        assert len(found) == 1, found
        return found[0]

    def clean(self) -> None:
        for process in self._children:
            process.kill()
            process.communicate()
        self.kernel.unwatch_cgroup(AGENT)
        deadline = time.monotonic() + 5
        while (self.cgroup / "cgroup.procs").read_text():
            assert time.monotonic() < deadline, "the agent's cgroup does not become empty"
            time.sleep(0.005)
        self.cgroup.rmdir()


@contextmanager
def listener(address: str = "127.0.0.1") -> Iterator[tuple[socket.socket, int]]:
    """A listening socket of nobody's, and its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        server.listen()
        server.settimeout(10)
        yield server, server.getsockname()[1]


def address(text: str) -> bytes:
    """An address as records carry it."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
