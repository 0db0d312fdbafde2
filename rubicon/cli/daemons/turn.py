"""Who starts or stops an instance takes turns, and a start lasts until what was started is on record.

`up` starts a supervisor, which needs a while before it can write down that it is there. The turn goes over to it: it inherits
the lock as its stdin, so that it holds it also when `up` is killed at once, and `down` waits and then finds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from rubicon.cli.daemons import record
from rubicon.client.errors import RubiconUnreachable
from rubicon.v1.instance import Instance

PATIENCE_S = 30.0
"""Longest wait for somebody else's turn: a supervisor is on record after half a second, on a host without time later."""
_AGAIN_S = 0.02


@contextlib.contextmanager
def turn(instance: Instance) -> Iterator[int]:
    """Nobody else starts or stops it inside. The lock's descriptor, for a supervisor's stdin.

    Raises:
        FileNotFoundError: the instance has no state folder.
        RubiconUnreachable: somebody else did not come to an end.
    """
    deadline = time.monotonic() + PATIENCE_S
    _wake_sensor(instance)
    while True:
        lock = os.open(path(instance), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locked(lock, deadline) and _stands(lock, instance):
                yield lock
                return
        finally:
            os.close(lock)


def _wake_sensor(instance: Instance) -> None:
    """Whoever opens the lock waits for the sensor, which guards its folder; a supervisor that is stopped too wakes nobody."""
    for each in record.read(instance):
        if each.name == "rubicon-sensor" and record.stopped(each.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each.pid, signal.SIGCONT)


def path(instance: Instance) -> Path:
    """The lock's file, where no agent sees it; `down` removes it in its turn."""
    return instance.state_dir / "start.lock"


def inherited(instance: Instance) -> bool:
    """Whether this process was given the turn by `up`."""
    return _stands(0, instance)


def over() -> None:
    """Give up the turn that was inherited."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _locked(lock: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RubiconUnreachable(
                    "another 'rubicon up' or 'rubicon down' does not come to an end", "try again, or see 'rubicon logs'"
                ) from None
            time.sleep(_AGAIN_S)
        else:
            return True


def _stands(lock: int, instance: Instance) -> bool:
    """It is the file that stands there, and not one that somebody has removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(lock), path(instance).stat())
    except OSError:
        return False
