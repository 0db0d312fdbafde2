"""A cursor over the spool, for the uplink."""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from sensor.ship.segment import FILE_HEADER, Segment, read_entry

_log = structlog.get_logger(part="spool")


class SpoolReader:
    """Yields durable batches in order. A segment that is dropped meanwhile is still read to its end: its file is
    open."""

    def __init__(self, find: Callable[[int], Segment | None], after: int) -> None:
        self._find = find
        self._after = after
        self._segment: Segment | None = None
        self._fd = -1
        self._offset = 0

    def next(self) -> tuple[int, bytes] | None:
        """The next batch as (sequence, serialised Batch), or None when nothing more is durable yet."""
        while True:
            if self._segment is None and not self._open():
                return None
            segment = self._segment
            assert segment is not None
            while self._offset < segment.end:
                found = read_entry(self._fd, self._offset, segment.end)
                if found is None:
                    _log.error(
                        "spool_entry_damaged", path=str(segment.path), offset=self._offset, last_sequence=segment.last
                    )
                    self._after = max(self._after, segment.last)
                    break
                entry, self._offset = found
                if entry.batch and entry.sequence > self._after:
                    self._after = entry.sequence
                    return entry.sequence, entry.batch
            current = self._find(self._after + 1)
            if current is None or current is segment:
                return None
            self.close()

    def _open(self) -> bool:
        while True:
            found = self._find(self._after + 1)
            if found is None:
                return False
            try:
                self._fd = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # dropped between the two: look again
            self._segment = found
            self._offset = FILE_HEADER.size
            return True

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._segment = None
