"""What the ops of the local socket work with, and how they read a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from rubicon.v1 import event_pb2
from rubicon.v1.instance import Instance
from sensor.act.contain import Containment
from sensor.act.enrol import Enroller
from sensor.act.kill import Killer
from sensor.act.watch import Watch
from sensor.errors import InvalidArgument, ProcessNotFound
from sensor.settings import Settings

T = TypeVar("T")
PID_MAX = 1 << 22
"""PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h)."""
Request = Mapping[str, Any]
Reply = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """One sensor, as its local socket sees it."""

    instance: Instance
    settings: Settings
    enroller: Enroller
    killer: Killer
    containment: Containment
    watch: Watch
    emit: Callable[[event_pb2.Event], None]
    key: bytes
    """Signs tokens."""
    threads: Executor
    """Kills have threads of their own, so that none waits behind other work."""
    status: Callable[[], Reply]
    """What the daemon says about uplink, coverage and spool."""

    async def thread(self, call: Callable[[], T]) -> T:
        """Run something that blocks, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)


def text(request: Request, name: str, default: str | None = None, limit: int = 4096) -> str:
    """A text field.

    Raises:
        InvalidArgument: it is missing, no text or too long.
    """
    value = request.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or len(value) > limit:
        raise InvalidArgument(f"{name}: give text of at most {limit} characters")
    return value


def number(value: object, name: str, default: int | None = None) -> int:
    """A number that is not negative and fits 64 bits.

    Raises:
        InvalidArgument: it is not one.
    """
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
        raise InvalidArgument(f"{name}: give a number")
    return value


def pid_of(request: Request) -> int:
    """The field `pid`.

    Raises:
        InvalidArgument: it is no number.
        ProcessNotFound: no kernel gives such a pid.
    """
    pid = number(request.get("pid"), "pid")
    if not 0 < pid <= PID_MAX:
        raise ProcessNotFound(f"process {pid} does not exist")
    return pid


def flag(request: Request, name: str) -> bool:
    """A truth value, false when it is missing.

    Raises:
        InvalidArgument: it is something else.
    """
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name}: give true or false")
    return value
