"""Keeps plane and sensor running: a killed one is started again, after a pause that grows while it keeps dying."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rubicon.cli.daemons import logfile, record, start, turn
from rubicon.cli.daemons.notify import notify, wanted
from rubicon.client.errors import Refused
from rubicon.v1 import priority
from rubicon.v1.instance import Instance

DAEMONS = ("rubicon-plane", "rubicon-sensor")
LOGS = ("plane.log", "sensor.log", "supervisor.log")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
LOOK_S = 0.5
"""Seconds between two looks at the logs' sizes; a daemon that ends or is stopped is seen at once."""
STEADY_S = 30.0
"""Seconds after which a daemon counts as well, and its next death as the first."""
STOP_S = 10.0


class _Daemon:
    def __init__(self, name: str, log: Path | None) -> None:
        self.name = name
        self.log = log
        """Its stdout and stderr; those of this process when None."""
        self.process: subprocess.Popen[bytes] | None = None
        self.pause = FIRST_PAUSE_S
        self.started = 0.0

    def start(self) -> None:
        # whom systemd asked is this process, not its children
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        environment["RUBICON_SUPERVISOR"] = str(os.getpid())
        with self.log.open("ab") if self.log else contextlib.nullcontext() as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / self.name)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        priority.begin(self.process.pid)
        self.started = time.monotonic()

    def ended(self) -> bool:
        if self.process is None or self.process.poll() is None:
            return False
        self.pause = FIRST_PAUSE_S if time.monotonic() - self.started > STEADY_S else self.pause
        return True

    def wake(self) -> None:
        """Have it go on when it was stopped."""
        if self.process and record.stopped(self.process.pid):
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def supervise(instance: Instance) -> None:
    """Run both daemons until SIGTERM, SIGINT or SIGHUP; then stop them, the sensor first, so that it can still ship.

    Raises:
        OSError: folders cannot be made or the console scripts are missing.
        Refused: another process supervises this instance.
        RubiconUnreachable: somebody else starts or stops it, and does not come to an end.
    """
    with _only_supervisor(instance), contextlib.ExitStack() as starting:
        if turn.inherited(instance):
            starting.callback(turn.over)
        else:
            starting.enter_context(turn.turn(instance))
        for orphan in record.read(instance):  # their supervisor was killed; nobody would start them again
            orphan.end(STOP_S)
        _supervise(instance, starting.close)


@contextlib.contextmanager
def _only_supervisor(instance: Instance) -> Iterator[None]:
    """Holds a lock on the folder itself: no file that `down` would have to remove under somebody else's lock."""
    folder = os.open(instance.state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = next((each.pid for each in record.read(instance) if each.name == "supervisor"), None)
            raise Refused(
                f"plane and sensor are supervised here already{f' by process {pid}' if pid else ''}",
                "stop them with 'sudo rubicon down', or the service with 'systemctl stop rubicon'",
            ) from None
        yield
    finally:
        os.close(folder)


def _supervise(instance: Instance, recorded: Callable[[], None]) -> None:
    """Until the end is asked for; `recorded` is told once both daemons are on record."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, priority.NICE)  # who starts a sensor again must not wait for a crowd
    daemons = [_Daemon(name, log) for name, log in zip(DAEMONS, _logs(instance), strict=True)]
    told = not wanted()
    # A handler that raised could do so while a daemon is being started: it would run on, and nobody would know it.
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # that it comes is all: it ends the sleep
    signals, told_of = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(told_of, warn_on_full_buffer=False)
    sleep = functools.partial(_asked_within, asked=asked, signals=signals)
    try:
        for daemon in daemons:
            daemon.start()
        _record(instance, daemons)
        recorded()
        while not sleep(LOOK_S if told else FIRST_PAUSE_S):
            if not told and start.running(instance):
                notify("READY=1")
                told = True
            for name in LOGS:
                logfile.bound(instance.log_dir / name)
            daemons[-1].wake()  # who opens a file that the sensor guards waits for it, the plane too
            for daemon in daemons:
                if daemon.ended() and not sleep(daemon.pause, whole=True):
                    daemon.pause = min(daemon.pause * 2, LONGEST_PAUSE_S)
                    daemon.start()
                    _record(instance, daemons)
    finally:
        notify("STOPPING=1")
        for daemon in reversed(daemons):
            daemon.stop()
        record.forget(instance)


def _asked_within(seconds: float, *, asked: list[int], signals: int, whole: bool = False) -> bool:
    """Sleep, unless the end was asked for; also a shorter time when a signal comes, unless it must be the whole."""
    until = time.monotonic() + seconds
    while not asked and (left := until - time.monotonic()) > 0:
        came = select.select([signals], [], [], left)[0] and os.read(signals, 4096)
        if came and not whole:
            break
    return bool(asked)


def _logs(instance: Instance) -> list[Path | None]:
    if logfile.stderr_is_journal():
        return [None] * len(DAEMONS)
    instance.log_dir.mkdir(parents=True, exist_ok=True)
    return [instance.log_dir / f"{name.removeprefix('rubicon-')}.log" for name in DAEMONS]


def _record(instance: Instance, daemons: list[_Daemon]) -> None:
    running = [record.recorded("supervisor", os.getpid())]
    for daemon in daemons:
        with contextlib.suppress(ProcessLookupError):  # it has just died: the next look starts it again
            if daemon.process:
                running.append(record.recorded(daemon.name, daemon.process.pid))
    record.write(instance, running)
