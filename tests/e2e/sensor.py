"""A real rubicon-sensor in an instance of the test's own, and calls to its local socket."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from rubicon.v1.instance import Instance
from sensor.act.cgroup import Cgroup
from sensor.kernel.loader import Kernel
from tests.turns import recorded

BIN = Path(sys.executable).parent


def until(condition: Callable[[], object], seconds: float = 60) -> Any:
    """Poll until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


@dataclass
class Sensor:
    """One instance; `start` and `stop` its sensor at will."""

    name: str = field(default_factory=lambda: f"t-{os.getpid()}-{secrets.token_hex(3)}")
    process: subprocess.Popen[bytes] | None = None
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def instance(self) -> Instance:
        return Instance(f"rubicon-{self.name}")

    @property
    def log(self) -> Path:
        return self.instance.state_dir / "sensor.log"

    def spawn(self, **environment: str) -> subprocess.Popen[bytes]:
        self.instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(BIN / "rubicon-sensor")],
                env={**os.environ, "RUBICON_INSTANCE": self.name, **environment},
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, **environment: str) -> None:
        self.process = self.spawn(**environment)
        until(self.answers)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError, ValueError):
            return bool(self.call("status").get("pid") == self.process.pid)
        return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def call(self, op: str, timeout: float = 30, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(timeout)
            channel.connect(str(self.instance.sensor_socket))
            channel.sendall(json.dumps({"op": op, **request}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(channel.makefile().readline())
            return answer

    def launch(self, *command: str, name: str = "") -> tuple[dict[str, Any], subprocess.Popen[bytes]]:
        """Run a command as an agent, released only when it is enrolled; it writes to its stdout, a pipe."""
        child = subprocess.Popen(
            ["sh", "-c", 'read _; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.children.append(child)
        answer = self.call("launch", pid=child.pid, name=name, command=list(command))
        assert answer["ok"], answer
        assert child.stdin
        child.stdin.write(b"\n")
        child.stdin.flush()
        return answer, child

    def members(self, agent_id: str) -> int:
        """Living processes of an agent."""
        return int(next((each["processes"] for each in self.call("agents")["agents"] if each["id"] == agent_id), 0))

    def registered(self) -> list[dict[str, Any]]:
        """What the registry on disk says."""
        return list(orjson.loads((self.instance.state_dir / "agents.json").read_bytes())["agents"])

    def clean(self) -> None:
        home = Cgroup.at(f"/{self.instance.cgroup}")
        home.kill()
        for child in self.children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if self.process and self.process.poll() is None:
            self.end(signal.SIGKILL)
        Kernel.unload(self.instance)
        until(home.remove)
        for folder in (self.instance.state_dir, self.instance.run_dir):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def sensor() -> Iterator[Sensor]:
    """An instance without a running sensor yet; nothing of it is left behind."""
    made = Sensor()
    with recorded(made.instance):
        try:
            yield made
        finally:
            made.clean()
