"""Forwards asked of a running client through its control socket: `ssh -O forward -R …`, or a second `ssh -R …` that
shares the connection.

The one who asks holds no SSH connection; the master does, and it is found by the path of its control socket
(ControlPath), as its arguments or its configuration name it. Source: OpenSSH PROTOCOL.mux, mux.c, ssh_config(5)
TOKENS.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.detectors._ssh import argv
from controlplane.model.finding import EvidenceItem
from controlplane.model.keys import ProcessKey

_MANY = 64
_TEMPORARY = re.compile(r"\.[A-Za-z0-9]{16}$")
"""A master binds PATH.XXXXXXXXXXXXXXXX first and links it to PATH (mux.c)."""


@dataclass(slots=True, eq=False)
class Request:
    """Somebody asked a control master for a remote forward."""

    process: ProcessKey
    path: str
    """Socket that it connected to, or the ControlPath that it names; empty when neither is known."""
    evidence: EvidenceItem


class Requests:
    """Requests whose master is not found yet; bounded, the oldest are dropped."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque(maxlen=_MANY)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, request: Request) -> None:
        """One more; a process has one at a time."""
        self.forget(request.process)
        self._waiting.append(request)

    def forget(self, process: ProcessKey) -> None:
        """The process opened a connection of its own, or ended."""
        for waiting in [waiting for waiting in self._waiting if waiting.process == process]:
            self._waiting.remove(waiting)

    def take(self, process: ProcessKey, paths: Iterable[str], *, sole: bool) -> list[Request]:
        """The requests that go to the client `process`, which listens on one of the paths, or which is the only one
        there is."""
        patterns = [pattern for path in paths if path and (pattern := as_pattern(path))]
        found = [
            request
            for request in self._waiting
            if request.process != process
            and (any(_meets(pattern, request.path) for pattern in patterns) or (sole and not patterns))
        ]
        for request in found:
            self._waiting.remove(request)
        return found


def control_path(command: argv.Command, cwd: str) -> str:
    """The ControlPath that arguments name, absolute; empty when they name none."""
    path = command.control_path
    if not path or path.lower() == "none":
        return ""
    return posixpath.normpath(posixpath.join(cwd or "/", path)) if not path.startswith(("~", "%", "$")) else path


def as_pattern(path: str) -> re.Pattern[str] | None:
    """A ControlPath as a pattern: what its %-tokens, ~ and ${VARIABLES} stand for is not known here. None when
    nothing else is left."""
    parts = re.split(r"%%|%[A-Za-z]|\$\{[^}]*\}|^~[^/]*", path)
    if len("".join(parts).replace("/", "")) == 0 and len(parts) > 1:
        return None
    return re.compile(".+".join(re.escape(part) for part in parts))


def _meets(pattern: re.Pattern[str], path: str) -> bool:
    if not path:
        return False
    if pattern.fullmatch(_TEMPORARY.sub("", path)) or pattern.fullmatch(path):
        return True
    # both sides may be written with tokens (%C): the same text is the same socket
    return "%" in path and as_pattern(path) == pattern
