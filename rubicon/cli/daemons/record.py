"""Which processes an instance runs: pid with start time, so that a reused pid is never taken for ours."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from rubicon.v1.instance import Instance


@dataclass(frozen=True, slots=True)
class Recorded:
    """A process; `ticks` is field 22 of /proc/PID/stat (start time in clock ticks since boot)."""

    name: str
    pid: int
    ticks: int

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _ticks(self.pid) == self.ticks

    def end(self, timeout_s: float) -> bool:
        """SIGTERM, and SIGKILL when it is still there after the timeout; False when it was gone already."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            if not select.select([fd], [], [], timeout_s)[0]:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                select.select([fd], [], [], timeout_s)
        finally:
            os.close(fd)
        return True


def recorded(name: str, pid: int) -> Recorded:
    """The process that has a pid now.

    Raises:
        ProcessLookupError: there is none.
    """
    ticks = _ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"no process {pid}")
    return Recorded(name, pid, ticks)


def write(instance: Instance, processes: list[Recorded]) -> None:
    """Keep them, whole or not at all."""
    path = _path(instance)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(each) for each in processes]))
    partial.replace(path)


def read(instance: Instance) -> list[Recorded]:
    """Those that were kept and still run."""
    try:
        values = json.loads(_path(instance).read_text())
        return [each for each in (Recorded(**value) for value in values) if each.alive()]
    except (OSError, ValueError, TypeError):
        return []


def forget(instance: Instance) -> None:
    """Keep nothing."""
    _path(instance).unlink(missing_ok=True)


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal; not one that a debugger holds."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False


def _path(instance: Instance) -> Path:
    return instance.run_dir / "daemons.json"


def _ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
