"""The ring of records, read by mmap: no callback, no copy but the one that hands a record out.

Layout (kernel/bpf/ringbuf.c): one page with the consumer's position, read-write at offset 0; one with the producer's, then the
data twice in a row, read-only at offset one page. Of the two we map one, for both count as ours. A record has a header of 8
bytes: length with a busy and a discard bit, and the record's page offset; records are padded to 8 bytes, so that a header never
wraps.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

# native: each is read in one load, which a writer on another CPU cannot come between
_POSITION = struct.Struct("@Q")
_LENGTH = struct.Struct("@I")
_BUSY, _DISCARD = 1 << 31, 1 << 30
_PAGE = mmap.PAGESIZE


class Ring:
    """Reader with two positions: how far was read, and (the consumer's, in the kernel) how far records may be overwritten.

    The second is in the pinned map itself, so a new reader starts where the last one committed.
    """

    def __init__(self, fd: int, size: int) -> None:
        """`size` is the map's max_entries in bytes; the descriptor stays the caller's."""
        self.fd = fd
        self._mask = size - 1
        self._consumer = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer = mmap.mmap(fd, _PAGE + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._view = memoryview(self._producer)
        # an aligned 8-byte store, which struct.pack_into (byte by byte) is not
        self._committed = ctypes.c_uint64.from_buffer(self._consumer)
        self._cursor = self._committed.value

    def read(self, limit: int = 4096) -> list[bytes]:
        """Whole records after the cursor, at most `limit`, copied; moves the cursor, not the consumer's position.

        Stops at a record that a hook is still writing.
        """
        produced = _POSITION.unpack_from(self._view, 0)[0]
        view, mask, cursor = self._view, self._mask, self._cursor
        found: list[bytes] = []
        while cursor < produced and len(found) < limit:
            at = _PAGE + (cursor & mask)
            length = _LENGTH.unpack_from(view, at)[0]
            if length & _BUSY:
                break
            size = length & ~_DISCARD
            if not length & _DISCARD:
                record = bytes(view[at + 8 : at + 8 + size])
                if len(record) < size:  # it goes on at the beginning
                    record += view[_PAGE : _PAGE + size - len(record)]
                found.append(record)
            cursor += (size + 8 + 7) & ~7
        self._cursor = cursor
        return found

    def commit(self) -> None:
        """Let the kernel overwrite everything that was read so far."""
        self._committed.value = self._cursor

    @property
    def waiting(self) -> int:
        """Bytes between the consumer's and the producer's position."""
        return int(_POSITION.unpack_from(self._view, 0)[0]) - self._committed.value

    def close(self) -> None:
        """Unmap and close; the ring stays as it is."""
        del self._committed
        self._view.release()
        self._producer.close()
        self._consumer.close()
        os.close(self.fd)
