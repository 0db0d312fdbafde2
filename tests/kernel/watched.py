"""An agent on the real hooks, and the process records that they made of it. conftest.py makes it a fixture."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rubicon.v1 import event_pb2
from sensor.collect.decode import decode
from sensor.kernel.enums import AgentFlag, TagFlag
from sensor.kernel.loader import Kernel

AGENT = 0xA6E27
OTHER = 0xB6E27
Where = Callable[[event_pb2.Event], object]


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in {seconds} s not: {what}"
        time.sleep(0.005)


class Watched:
    """One agent with a cgroup of its own; `events` has every record of both agents so far, in the ring's order."""

    def __init__(self, kernel: Kernel, cgroups: Path) -> None:
        self.kernel = kernel
        self.root = cgroups.parent
        self.cgroups = cgroups
        self.cgroup = self.enrol_cgroup("agent", AGENT)
        self.events: list[event_pb2.Event] = []
        self._children: list[subprocess.Popen[str]] = []

    def enrol_cgroup(self, name: str, agent: int) -> Path:
        """Make a cgroup that is an agent's own."""
        folder = self.cgroups / name
        folder.mkdir()
        assert self.kernel.agents.put(agent, folder.stat().st_ino, AgentFlag.OWN_CGROUP)
        assert self.kernel.cgroups.add(folder.stat().st_ino, agent)
        return folder

    def held(self, *command: str, cwd: str | None = None) -> subprocess.Popen[str]:
        """A process of nobody's that executes a command after `go`."""
        child = subprocess.Popen(
            ["sh", "-c", 'echo; read _; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        self._children.append(child)
        # Popen returns at its close-on-exec, a moment before the hook of sh's own exec has run
        assert child.stdout
        child.stdout.readline()
        return child

    def start(self, *command: str, cwd: str | None = None) -> subprocess.Popen[str]:
        """The same, tagged and in the agent's cgroup."""
        child = self.held(*command, cwd=cwd)
        self.tag(child.pid)
        self.move(child.pid, self.cgroup)
        return child

    def go(self, child: subprocess.Popen[str]) -> None:
        """Let a held process execute its command."""
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()

    def run(self, *command: str, cwd: str | None = None) -> tuple[int, str]:
        """An agent's command, run to its end: (pid, what it printed)."""
        child = self.start(*command, cwd=cwd)
        self.go(child)
        return child.pid, child.communicate(timeout=30)[0]

    def python(self, code: str, *arguments: object) -> tuple[int, str]:
        """Python code of the agent's, run to its end."""
        return self.run(sys.executable, "-c", code, *map(str, arguments))

    def tag(self, pid: int, agent: int = AGENT) -> int:
        """Make a process the agent's; its start time."""
        start_time = self.start_time(pid)
        assert self.kernel.tags.add(pid, agent, start_time, TagFlag.ROOT)
        return start_time

    def move(self, pid: int, cgroup: Path) -> None:
        """Move a process, by this process, which is nobody's."""
        (cgroup / "cgroup.procs").write_text(str(pid))

    def start_time(self, pid: int) -> int:
        """A process's exact start time."""
        task = self.kernel.task(pid)
        assert task, pid
        return task.start_time

    def flags(self, agent: int = AGENT) -> AgentFlag:
        """The agent's flags in the kernel."""
        state = self.kernel.agents.get(agent)
        assert state
        return AgentFlag(state.flags)

    def count(self, agent: int = AGENT) -> int:
        """The kernel's count of the agent's processes."""
        state = self.kernel.agents.get(agent)
        assert state
        return state.tasks

    def tagged(self, agent: int = AGENT) -> set[int]:
        """Pids that have the agent's tag."""
        return {pid for pid, tag in self.kernel.tags.items() if tag.agent == agent}

    def read(self) -> list[event_pb2.Event]:
        """All events so far."""
        while records := self.kernel.ring.read():
            self.events += [decode(record) for record in records]
            self.kernel.ring.commit()
        return self.events

    def of(self, kind: str, where: Where = lambda event: True) -> list[event_pb2.Event]:
        """Events of one kind so far."""
        return [event for event in self.read() if event.WhichOneof("kind") == kind and where(event)]

    def one(self, kind: str, where: Where = lambda event: True) -> event_pb2.Event:
        """The only event of its kind, once it is there."""
        until(lambda: self.of(kind, where), f"a record of {kind}")
        found = self.of(kind, where)
        assert len(found) == 1, found
        return found[0]

    def exec_of(self, name: str) -> event_pb2.Event:
        """The exec record of the program whose file has a name."""
        return self.one("exec", lambda event: event.exec.filename.rsplit("/", 1)[-1] == name)

    def ended(self, pid: int) -> event_pb2.Event:
        """The exit record of a process."""
        return self.one("exit", lambda event: event.process.pid == pid)

    def empty(self) -> None:
        """Wait until the agent has no process, by tags, by count and by the iterator."""
        until(lambda: not self.tagged(), "no tag is left")
        assert self.count() == 0
        assert not [task for task in self.kernel.tasks() if task.agent == AGENT]

    def clean(self) -> None:
        # what the children left behind too: it holds their output open
        (self.cgroups / "cgroup.kill").write_text("1")
        for child in self._children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                assert pipe
                pipe.close()
