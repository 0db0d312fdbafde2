"""What an earlier sensor left in the spool's folder: segments of this boot to go on with, and those of earlier boots.

A stream to the plane belongs to one boot of one host, because record identity and times do. So what an earlier boot
left is moved to a folder of its own, `boot-ID`, and is shipped on a stream that names that boot."""

from __future__ import annotations

import os
import time
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import structlog

from sensor.errors import SpoolError
from sensor.ship.segment import Segment, sync_directory

NOTE = Struct("<Q")
"""A note: highest sequence that was dropped, then the caller's ledger."""
_PREFIX = "boot-"
_log = structlog.get_logger(part="spool")


class Recovered(NamedTuple):
    """The state to go on with; `next` is the sequence of the next batch."""

    segments: list[Segment]
    ledger: bytes
    dropped_through: int
    next: int


def recover(directory: Path) -> Recovered:
    """Read the segments in a folder, and cut what a crash left half written.

    A fresh or damaged spool counts on from the clock in microseconds: so its numbers never repeat those of batches that
    the plane may have acknowledged already, and would never ask for again."""
    segments: list[Segment] = []
    ledger, dropped_through, following, sound = b"", 0, 0, True
    for path in directory.glob("*.new"):
        path.unlink()
    for path in sorted(directory.glob("*.segment")):
        try:
            segment, notes, damaged = Segment.recover(path)
        except (SpoolError, OSError) as error:
            _log.error("spool_segment_unreadable", path=str(path), error=str(error), action="set aside as .damaged")
            path.rename(path.with_suffix(".damaged"))
            sound = False
            continue
        if damaged:
            _log.warning("spool_tail_cut", path=str(path), bytes=damaged, last_sequence=segment.last)
            os.truncate(path, segment.end)
            sound = False
        for note in notes:
            (dropped_through,) = NOTE.unpack_from(note)
            ledger = note[NOTE.size :]
        following = max(following, segment.last + 1)
        segments.append(segment)
    for segment in list(segments):
        # A crash between the report of a loss and the deletion left these.
        if segment.batches and segment.last <= dropped_through:
            segments.remove(segment)
            segment.path.unlink(missing_ok=True)
    if not following or not sound:
        following = max(following, time.time_ns() // 1000)
    return Recovered(segments, ledger, dropped_through, following)


def claim(directory: Path, boot_id: str) -> None:
    """Make the folder this boot's; segments of another boot move to a folder of their own. Safe to repeat after a
    crash."""
    mark = directory / "boot_id"
    owner = mark.read_text().strip() if mark.exists() else ""
    left = list(directory.glob("*.segment"))
    if owner and owner != boot_id and left:
        folder = directory / f"{_PREFIX}{owner}"
        folder.mkdir(mode=0o700, exist_ok=True)
        _write_mark(folder / "boot_id", owner)
        for path in left:
            path.rename(folder / path.name)
        _log.info("spool_of_earlier_boot", boot_id=owner, segments=len(left))
    if owner != boot_id:
        _write_mark(mark, boot_id)
    sync_directory(directory)


def _write_mark(path: Path, boot_id: str) -> None:
    partial = path.with_name("boot_id.new")
    partial.write_text(boot_id + "\n")
    partial.rename(path)


def earlier_boots(directory: Path) -> list[tuple[str, Path]]:
    """(boot id, folder) of every earlier boot that left batches, in the order of the boots (sequences begin at a
    clock)."""

    def first(path: Path) -> str:
        return min((segment.name for segment in path.glob("*.segment")), default="")

    found = [path for path in directory.glob(f"{_PREFIX}*") if path.is_dir()]
    found.sort(key=first)
    return [(path.name.removeprefix(_PREFIX), path) for path in found]
