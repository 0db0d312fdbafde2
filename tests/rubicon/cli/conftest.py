"""The command line in this process, as `rubicon` runs it, on a pipe or on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import pytest

from rubicon.cli.main import main
from rubicon.v1 import event_pb2
from tests.controlplane.builders import Kernel, key, tunnel
from tests.rubicon.world import World

ROOT, CHILD = key(100), key(101)
SECRET = "hunter2hunter2"
HOSTILE = b"\x1b]0;owned\x07\x1b[2J\xff\xe2\x80\xaex"
"""Sets the title, clears the screen, is no UTF-8, and turns the direction of what follows."""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command to its end; with tty=True its output is a terminal of 100 columns, and both streams come as one."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments: str, tty: bool = False) -> Done:
        capsys.readouterr()
        if not tty:
            code = main(list(arguments))
            out, err = capsys.readouterr()
            return Done(code, out, err)
        with terminal() as (stream, shown), monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            code = main(list(arguments))
        return Done(code, shown().replace("\r\n", "\n"), "")

    return run


@contextlib.contextmanager
def terminal(columns: int = 100) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal to write to, and, once it is closed, all that it was shown."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 65536):
                parts.append(part)

    thread = threading.Thread(target=read)
    thread.start()

    def shown() -> str:
        thread.join(10)
        os.close(ours)
        return b"".join(parts).decode()

    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream, shown


def story(kernel: Kernel) -> list[event_pb2.Event]:
    """An agent with a tunnel, a secret, hostile arguments and a lost record."""
    return [
        kernel.enrol(ROOT, labels={"episode": "7"}, command=["bash", "rollout.sh"]),
        kernel.exec(ROOT, "bash", "rollout.sh", exe="/usr/bin/bash", cwd="/srv"),
        kernel.fork(ROOT, CHILD),
        kernel.exec(CHILD, "curl", f"--token={SECRET}", exe="/usr/bin/curl"),
        kernel.exec(CHILD, b"\x1bname", HOSTILE, exe="/tmp/\x1b[31mred"),
        *tunnel(kernel, CHILD),
        kernel.event(ROOT, loss=event_pb2.Loss(count=3, event_class=event_pb2.EVENT_CLASS_FLOW)),
    ]


@pytest.fixture
def told(world: World) -> World:
    """A plane that was told the story."""
    world.deliver(story(Kernel()))
    return world
