"""A sensor's acting half on the real kernel, in an instance of the test's own; conftest.py makes it a fixture."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rubicon.v1 import event_pb2
from rubicon.v1.instance import Instance
from sensor.act.cgroup import Cgroup
from sensor.act.contain import Containment
from sensor.act.enrol import Enroller, Facts
from sensor.act.kill import Killer
from sensor.act.processes import Key
from sensor.act.registry import Living, Registry
from sensor.act.watch import Watch
from sensor.collect.snapshot import snapshot
from sensor.kernel.loader import Kernel
from sensor.kernel.settings import KernelSettings
from sensor.settings import ContainSettings, EnrolSettings, KillSettings
from tests.sensor.act.keeper import Kept, kept


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass
class Stage:
    """Everything that acts, and what it emitted."""

    instance: Instance
    kernel: Kernel
    events: list[event_pb2.Event] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    move: str = "auto"

    def __post_init__(self) -> None:
        self.wire()

    def wire(self) -> None:
        settings = EnrolSettings(move=self.move, linger_s=0.001)
        self.registry = Registry(self.instance.state_dir / "agents.json", "boot")
        self.enroller = Enroller(
            self.kernel, self.events.append, self.instance, self.registry, settings, partial(snapshot, self.kernel)
        )
        self.killer = Killer(self.enroller, KillSettings(patience_s=1.5), "here", "boot")
        self.containment = Containment(self.enroller, ContainSettings(), "here", "boot")
        self.watch = Watch(
            self.enroller, self.killer, self.containment, settings, lambda agent: self.condemned.append(agent.id)
        )

    def die(self) -> None:
        """No sensor lives: what is pinned stays in force."""
        self.kernel.close()

    def restart(self) -> None:
        """As after SIGKILL: nothing is closed properly, everything is read anew."""
        self.die()
        self.revive()

    def revive(self) -> None:
        """The next sensor comes."""
        self.kernel = Kernel.open(self.instance, KernelSettings())
        self.wire()
        self.watch.adopt()

    def held(self, *command: str, session: bool = False) -> subprocess.Popen[str]:
        """A child that waits for `release` before it executes a command."""
        child = subprocess.Popen(
            ["sh", "-c", 'read _; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=session,
        )
        self.children.append(child)
        return child

    def release(self, child: subprocess.Popen[str]) -> None:
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()

    def launch(self, *command: str, name: str = "") -> tuple[Living, subprocess.Popen[str]]:
        """An agent that runs a command."""
        child = self.held(*command)
        agent = self.enroller.launch(child.pid, Facts(name=name, command=list(command)))
        self.release(child)
        return agent, child

    @contextlib.contextmanager
    def bomb(self, *command: str, most: int = 600) -> Iterator[tuple[Living, Kept]]:
        """An agent that runs something which forks without end, from its first line of output on."""
        with kept(*command, most=most) as bomb:
            agent = self.enroller.launch(bomb.pid, Facts(command=list(command)))
            bomb.release()
            bomb.line()
            yield agent, bomb

    def mover(self) -> tuple[Living, subprocess.Popen[str]]:
        """An agent that moves processes between cgroups; see `move_by`."""
        return self.launch("sh", "-c", 'while read folder pid; do echo "$pid" > "$folder/cgroup.procs"; done')

    def move_by(self, mover: subprocess.Popen[str], pid: int, cgroup: Cgroup) -> None:
        """Let a mover move a process."""
        assert mover.stdin
        mover.stdin.write(f"{cgroup.folder} {pid}\n")
        mover.stdin.flush()
        until(lambda: pid in cgroup.processes())

    def plain(self, *command: str) -> subprocess.Popen[str]:
        """A child that belongs to no agent."""
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def key(self, pid: int) -> Key:
        task = self.kernel.task(pid)
        assert task
        return task.pid, task.start_time

    def members(self, agent: Living) -> list[int]:
        return [task.pid for task in self.kernel.tasks() if task.agent == agent.number]

    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("kind") for event in self.events]

    def clean(self) -> None:
        for agent in self.registry:
            cgroup = self.enroller.cgroup(agent)
            if cgroup and agent.cgroup_owned:
                cgroup.kill()
        for child in self.children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
        self.killer.close(60)
        self.kernel.close()
        Kernel.unload(self.instance)
        home = Cgroup.at(f"/{self.instance.cgroup}")
        home.kill()
        until(home.remove)
        shutil.rmtree(self.instance.state_dir, ignore_errors=True)
