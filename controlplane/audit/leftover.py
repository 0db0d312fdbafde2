"""Records that were still waiting for the disk when the plane stopped, in a file of root's until the next start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from controlplane import logs
from rubicon.v1.audit_chain import parse

FILE = "audit.waiting"
_log = logs.get("audit")


def write(folder: Path, records: Sequence[bytes]) -> None:
    """Keep them, in the order in which they were made; those that cannot be kept are in the log. Blocks."""
    if not records:
        return
    try:
        descriptor = os.open(
            folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "ab") as file:
            file.write(b"".join(record + b"\n" for record in records))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _log.error("audit records lost but for this log", error=str(error), records=[r.decode() for r in records])


def read(folder: Path) -> list[tuple[int, bytes]]:
    """(place that it was given, record). What is none, as a line that a crash cut, is left out. Blocks."""
    found = []
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append((int(parse(line)["sequence"]), line))
        except (ValueError, KeyError):
            _log.error("an audit record that waited cannot be read", line=line.decode("utf-8", "backslashreplace"))
    return found


def clear(folder: Path) -> None:
    """They are written. Blocks."""
    (folder / FILE).unlink(missing_ok=True)
