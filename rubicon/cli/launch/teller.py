"""Tells of an agent on stderr: alerts as they happen, the summary once CMD has ended. A process beside `run`.

gRPC starts threads of its own, and where none can be started, because an agent takes every pid that there is, it waits for
ever or takes its process with it. `run` must reach the end all the same, and exit as CMD did: so it loads no gRPC. It forks
the teller before CMD may execute, and a fresh one where that one has come to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from rubicon.cli.launch.child import Child
from rubicon.cli.render.safe import safe

PATIENCE_S = 20.0
"""Longest wait for a teller's last words. It takes tens of milliseconds, seconds on a host that has no time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent as the plane has it."""

    name: str
    state: str
    reason: str


class Teller:
    """Of one agent."""

    def __init__(self, agent_id: str, busy: Callable[[], bool], file: TextIO | None, child: Child) -> None:
        """Fork it; it waits for `begin`. Where no process is to be had, it is said and nobody tells.

        Args:
            busy: CMD has the terminal now.
            file: where alerts go, stderr unless given.
            child: what CMD will be, not released yet; its pipes are not the teller's.
        """
        self._agent_id = agent_id
        self._busy = busy
        self._file = file
        self._pid = 0
        self._channel: socket.socket | None = None
        try:
            self._fork(child.close)
        except OSError as error:
            _say(f"alerts are not shown: no process can be started ({error.strerror})")

    def begin(self) -> None:
        """CMD runs: from now on alerts are shown."""
        self._send({})

    def finish(self, alive: int, *, quiet: bool, by_us: bool) -> Ended | None:
        """Have it show what waited and the summary; None when the plane did not answer, which has been said then.

        Args:
            alive: processes of the agent that still live.
            by_us: `run` itself had it killed, so nobody else's reason is waited for.
        """
        last = {"alive": alive, "quiet": quiet, "by_us": by_us}
        answer = self._asked(last)
        if answer is None:
            try:
                self._fork(lambda: None)
            except OSError as error:
                _say(f"no summary: no process can be started ({error.strerror})")
                return None
            self.begin()
            answer = self._asked(last)
        if answer is None:
            _say("no summary: nobody could tell it")
        return Ended(**answer) if answer else None

    def _fork(self, close: Callable[[], None]) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            try:
                ours.close()
                close()
                _tell(theirs, self._agent_id, self._busy, self._file)
            except Exception as error:  # noqa: BLE001 - `run` goes on; a fresh teller may have more luck
                _say(f"alerts are not shown any more: {type(error).__name__}: {error}")
            finally:
                os._exit(0)
        theirs.close()
        self._pid, self._channel = pid, ours

    def _send(self, words: dict[str, Any]) -> None:
        if self._channel:
            with contextlib.suppress(OSError):  # it is gone: that shows when it is asked
                self._channel.sendall(json.dumps(words).encode() + b"\n")

    def _asked(self, words: dict[str, Any]) -> dict[str, Any] | None:
        """Its answer, empty when it said why there is none; None when it is gone or hangs. It is over then."""
        if not self._channel:
            return None
        self._send(words)
        with self._channel as channel:
            self._channel = None
            line = b""
            with contextlib.suppress(OSError):
                if select.select([channel], [], [], PATIENCE_S)[0]:
                    line = channel.makefile("rb").readline()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        answer: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return answer


def _tell(channel: socket.socket, agent_id: str, busy: Callable[[], bool], file: TextIO | None) -> None:
    """The teller. When `run` is gone, it goes too."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    lines = channel.makefile("rb")
    if not lines.readline():
        return
    from rubicon.cli.launch import summary
    from rubicon.cli.launch.alerts import AlertPrinter

    printer = AlertPrinter(agent_id, busy, file)
    last = lines.readline()
    if last:
        agent = summary.told(agent_id, printer, **json.loads(last))
        answer = {"name": agent.name, "state": agent.state, "reason": agent.reason} if agent else {}
        channel.sendall(json.dumps(answer).encode() + b"\n")


def _say(words: str) -> None:
    with contextlib.suppress(OSError):
        print(f"rubicon: {safe(words)}", file=sys.stderr, flush=True)
