"""Where the daemons' logs go: to systemd's journal when stderr is that, otherwise to files that do not grow without end."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from rubicon.cli.daemons import record
from rubicon.v1.instance import Instance

LOG_BYTES = 8 * 1024 * 1024
"""Size at which a log begins anew; the one before is kept beside it, so a daemon has twice this at most."""


def stderr_is_journal() -> bool:
    """Whether systemd gave this process the journal as stderr (systemd.exec(5), JOURNAL_STREAM: device:inode)."""
    found = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def earlier(path: Path) -> Path:
    """Where the part of a log lies that was there before it began anew."""
    return path.with_name(f"{path.name}.1")


def bound(path: Path, limit: int = LOG_BYTES) -> None:
    """Begin a log anew when it is longer than `limit` bytes.

    It is copied and cut in place, since the daemon has it open (for appending, so it goes on at the new beginning). A
    line that is written between the two is lost. Where the copy does not fit on the disk, the log is cut all the same.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.stat().st_size <= limit:
            return
        shutil.copyfile(path, partial)
        partial.replace(earlier(path))
    except FileNotFoundError:
        return
    except OSError:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.truncate(path, 0)


def is_elsewhere(instance: Instance) -> bool:
    """Whether daemons run here whose stderr is not their file in the log folder (root may look)."""
    for process in record.read(instance):
        path = instance.log_dir / f"{process.name.removeprefix('rubicon-')}.log"
        with contextlib.suppress(OSError):
            stderr = Path(f"/proc/{process.pid}/fd/2").stat()
            if process.name != "supervisor" and not (path.exists() and os.path.samestat(stderr, path.stat())):
                return True
    return False
