"""One file of the spool: a header, then entries, each with its own CRC.

    file  = "RBSPOOL1" first_sequence:u64  entry*
    entry = crc:u32 note_length:u32 batch_length:u32 sequence:u64  note  batch      (crc over all that follows it)

A note is a small state blob that must become durable together with a batch, or not at all. What a crash left half
written at the end fails its CRC and is cut: it was never synced, so the kernel's ring still holds it.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from sensor.errors import SpoolError

MAGIC = b"RBSPOOL1"
FILE_HEADER = Struct("<8sQ")
ENTRY_HEADER = Struct("<IIIQ")
ENTRY_LIMIT = 64 << 20
"""Bytes; a longer claim is damage, not an entry."""


class Entry(NamedTuple):
    """One entry; `batch` is empty where only a note was written."""

    sequence: int
    note: bytes
    batch: bytes


def encode(entry: Entry) -> bytes:
    """An entry as it stands in the file."""
    header = ENTRY_HEADER.pack(0, len(entry.note), len(entry.batch), entry.sequence)[4:]
    crc = zlib.crc32(entry.batch, zlib.crc32(entry.note, zlib.crc32(header)))
    return b"".join((crc.to_bytes(4, "little"), header, entry.note, entry.batch))


def read_entry(fd: int, offset: int, end: int) -> tuple[Entry, int] | None:
    """The entry at an offset and the offset after it; None when there is no whole, undamaged one before `end`."""
    header = os.pread(fd, ENTRY_HEADER.size, offset)
    if len(header) < ENTRY_HEADER.size:
        return None
    crc, note_length, batch_length, sequence = ENTRY_HEADER.unpack(header)
    length = note_length + batch_length
    after = offset + ENTRY_HEADER.size + length
    if length > ENTRY_LIMIT or after > end:
        return None
    body = os.pread(fd, length, offset + ENTRY_HEADER.size)
    if len(body) < length or zlib.crc32(body, zlib.crc32(header[4:])) != crc:
        return None
    return Entry(sequence, body[:note_length], body[note_length:]), after


class Segment:
    """A segment file. `first` is the first sequence that it may hold, `last` the last it holds (first - 1 while it
    has none)."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        self.first = first
        self.last = first - 1
        self.end = FILE_HEADER.size
        """Bytes that are durable; readers stop here."""
        self.batches = 0

    @classmethod
    def path_for(cls, directory: Path, first: int) -> Path:
        """Names sort as the sequences do."""
        return directory / f"{first:020d}.segment"

    @classmethod
    def create(cls, directory: Path, first: int, note: bytes = b"") -> tuple[Segment, int]:
        """A new segment, with a note when one is given, and its open descriptor. It appears whole or not at all.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        segment = cls(cls.path_for(directory, first), first)
        partial = segment.path.with_suffix(".new")
        data = FILE_HEADER.pack(MAGIC, first) + (encode(Entry(0, note, b"")) if note else b"")
        fd = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, data, 0)
            os.fsync(fd)
            partial.rename(segment.path)
            sync_directory(directory)
        except OSError:
            os.close(fd)
            partial.unlink(missing_ok=True)
            raise
        segment.end = len(data)
        return segment, fd

    @classmethod
    def recover(cls, path: Path) -> tuple[Segment, list[bytes], int]:
        """Read a segment that an earlier sensor left.

        Returns:
            The segment up to its last whole entry, its notes in order, and how many bytes after that are damaged.

        Raises:
            SpoolError: the file is not a segment of ours at all.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            header = os.pread(fd, FILE_HEADER.size, 0)
            if len(header) < FILE_HEADER.size or header[:8] != MAGIC:
                raise SpoolError(f"{path} is not a spool segment ({size} bytes)")
            segment = cls(path, FILE_HEADER.unpack(header)[1])
            notes: list[bytes] = []
            for entry, after in segment.entries(fd, size):
                segment.add(entry)
                segment.end = after
                if entry.note:
                    notes.append(entry.note)
            return segment, notes, size - segment.end
        finally:
            os.close(fd)

    def entries(self, fd: int, end: int) -> Iterator[tuple[Entry, int]]:
        """Whole entries from the start, each with the offset after it."""
        offset = FILE_HEADER.size
        while (found := read_entry(fd, offset, end)) is not None:
            yield found
            offset = found[1]

    def add(self, entry: Entry) -> None:
        """Count an entry as held."""
        if entry.batch:
            self.first = self.first if self.batches else entry.sequence
            self.last = entry.sequence
            self.batches += 1


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of it.

    Raises:
        OSError: not all of it could be written; a short write means a full disk.
    """
    if os.pwrite(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync_directory(directory: Path) -> None:
    """Make created and removed names durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
