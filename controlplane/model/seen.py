"""Which record sequences of one CPU and epoch were taken in already.

Records carry a sequence that rises by one, but reach the ring slightly out of order (an interrupt between numbering and
reserving), with holes where loss was counted, and twice after a reconnect. So what was seen is a few intervals: usually
one. Holes stay for ever, so the number of intervals is bounded: beyond it the oldest hole is closed, and a record that
fills it later would count as seen. The sensor's order (a spool, first in first out) makes such a late one impossible.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator

INTERVALS = 1024
"""Kept at most; 16 kB a CPU."""


class Seen:
    """Intervals of sequences, both ends included, in order and never touching."""

    __slots__ = ("_ends", "_starts", "last")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in intervals:
            self._starts.append(start)
            self._ends.append(end)
        self.last = self._ends[-1] if self._ends else -1
        """Highest sequence seen, -1 for none."""

    def add(self, sequence: int) -> bool:
        """Take one in; False when it was there already."""
        ends = self._ends
        if sequence == self.last + 1 and ends:
            ends[-1] = self.last = sequence
            return True
        if sequence > self.last:
            self._starts.append(sequence)
            ends.append(sequence)
            self.last = sequence
            if len(ends) > INTERVALS:
                del self._starts[1]
                del ends[0]
            return True
        return self._fill(sequence)

    def _fill(self, sequence: int) -> bool:
        """Take in one below the highest."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, sequence) - 1
        if at >= 0 and sequence <= ends[at]:
            return False
        joins_left = at >= 0 and ends[at] == sequence - 1
        joins_right = at + 1 < len(starts) and starts[at + 1] == sequence + 1
        if joins_left and joins_right:
            ends[at] = ends[at + 1]
            del starts[at + 1], ends[at + 1]
        elif joins_left:
            ends[at] = sequence
        elif joins_right:
            starts[at + 1] = sequence
        elif at < 0 and len(starts) >= INTERVALS:
            return False
        else:
            starts.insert(at + 1, sequence)
            ends.insert(at + 1, sequence)
            if len(ends) > INTERVALS:
                del starts[1], ends[0]
        return True

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def encode(self) -> bytes:
        """For the store: pairs of little-endian u64."""
        flat = [value for interval in self for value in interval]
        return struct.pack(f"<{len(flat)}Q", *flat)

    @classmethod
    def decode(cls, data: bytes) -> Seen:
        """The inverse.

        Raises:
            ValueError: the length is not a multiple of 16.
        """
        if len(data) % 16:
            raise ValueError(f"record sequences: {len(data)} bytes are no pairs of 64-bit numbers")
        return cls(struct.iter_unpack("<QQ", data))
