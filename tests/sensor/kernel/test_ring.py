"""The reader against a ring laid out as the kernel lays it out, byte by byte, so that every moment of a writer can be held."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor.kernel.ring import Ring

SIZE = 4096
BUSY, DISCARDED = 1 << 31, 1 << 30


class Writer:
    """What kernel/bpf/ringbuf.c does: reserve, submit or discard; the data stands twice in a row."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.produced = 0

    def _put(self, at: int, data: bytes) -> None:
        for index, byte in enumerate(data):
            place = (at + index) % SIZE
            for copy in (0, SIZE):
                os.pwrite(self.fd, bytes([byte]), 2 * mmap.PAGESIZE + copy + place)

    @property
    def consumed(self) -> int:
        return int(struct.unpack("<Q", os.pread(self.fd, 8, 0))[0])

    def reserve(self, data: bytes) -> int | None:
        """A busy record; None when the ring is full."""
        length = (len(data) + 8 + 7) & ~7
        if self.produced + length - self.consumed > SIZE - 1:
            return None
        at = self.produced
        self._put(at, struct.pack("<II", len(data) | BUSY, 0) + data)
        self.produced += length
        os.pwrite(self.fd, struct.pack("<Q", self.produced), mmap.PAGESIZE)
        return at

    def finish(self, at: int, length: int, flag: int = 0) -> None:
        self._put(at, struct.pack("<I", length | flag))

    def write(self, data: bytes, flag: int = 0) -> bool:
        at = self.reserve(data)
        if at is None:
            return False
        self.finish(at, len(data), flag)
        return True

    def reader(self) -> Ring:
        return Ring(os.dup(self.fd), SIZE)


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(writer: Writer) -> Iterator[Ring]:
    made = writer.reader()
    yield made
    made.close()


def test_an_empty_ring_has_nothing(ring: Ring) -> None:
    assert ring.read() == []
    assert ring.waiting == 0


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 128, 1000])
def test_records_of_any_length_are_whole(writer: Writer, ring: Ring, length: int) -> None:
    records = [bytes([index]) * length for index in range(3)]
    for record in records:
        assert writer.write(record)
    assert ring.read() == records
    assert ring.waiting == writer.produced


def test_reading_does_not_free_and_commit_does(writer: Writer, ring: Ring) -> None:
    while writer.write(b"x" * 1000):
        pass
    assert len(ring.read()) == 4
    assert not writer.write(b"y" * 1000), "read, but not safe yet"
    assert ring.read() == []
    ring.commit()
    assert writer.consumed == writer.produced
    assert writer.write(b"y" * 1000)
    assert ring.read() == [b"y" * 1000]


def test_commit_is_of_what_was_read_and_no_more(writer: Writer, ring: Ring) -> None:
    for index in range(3):
        writer.write(bytes([index]) * 8)
    assert ring.read(limit=2) == [b"\0" * 8, b"\1" * 8]
    ring.commit()
    assert ring.waiting == 16
    assert ring.read() == [b"\2" * 8]


def test_a_record_that_wraps_is_whole(writer: Writer, ring: Ring) -> None:
    for turn in range(20):
        record = bytes([turn]) * 1500
        assert writer.write(record)
        assert ring.read() == [record]
        ring.commit()
    assert writer.produced > 5 * SIZE


def test_a_busy_record_holds_back_what_is_behind_it(writer: Writer, ring: Ring) -> None:
    """Two CPUs: the second finished first. Order is that of the reservations."""
    writer.write(b"first")
    slow = writer.reserve(b"slow")
    writer.write(b"behind")
    assert ring.read() == [b"first"]
    assert ring.read() == []
    ring.commit()
    assert ring.waiting == 32
    assert slow is not None
    writer.finish(slow, 4)
    assert ring.read() == [b"slow", b"behind"]


def test_a_discarded_record_is_passed_over(writer: Writer, ring: Ring) -> None:
    writer.write(b"one")
    writer.write(b"never", DISCARDED)
    writer.write(b"two")
    assert ring.read() == [b"one", b"two"]
    ring.commit()
    assert ring.waiting == 0, "its place is freed too"


def test_discarded_records_alone_are_freed(writer: Writer, ring: Ring) -> None:
    writer.write(b"never", DISCARDED)
    assert ring.read() == []
    ring.commit()
    assert ring.waiting == 0


def test_a_busy_record_that_is_discarded(writer: Writer, ring: Ring) -> None:
    at = writer.reserve(b"undecided")
    assert ring.read() == []
    assert at is not None
    writer.finish(at, 9, DISCARDED)
    writer.write(b"next")
    assert ring.read() == [b"next"]


def test_a_new_reader_begins_at_the_last_commit(writer: Writer, ring: Ring) -> None:
    """A sensor was killed after it read and before it was safe: the next one reads the same again."""
    writer.write(b"safe")
    assert ring.read() == [b"safe"]
    ring.commit()
    writer.write(b"not yet safe")
    assert ring.read() == [b"not yet safe"]
    second = writer.reader()
    assert second.read() == [b"not yet safe"]
    second.close()


def test_records_are_copies(writer: Writer, ring: Ring) -> None:
    writer.write(b"a" * 100)
    (record,) = ring.read()
    ring.commit()
    for _ in range(40):
        writer.write(b"b" * 100)
    assert record == b"a" * 100


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 900)),
        st.tuples(st.just("discard"), st.integers(0, 900)),
        st.tuples(st.just("read"), st.integers(1, 5)),
        st.just(("commit", 0)),
        st.just(("reopen", 0)),
    ),
    max_size=60,
)


@given(_STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_every_record_comes_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    writer = Writer()
    ring = writer.reader()
    written: list[bytes] = []
    read: list[bytes] = []
    safe = 0
    for number, (what, size) in enumerate(steps):
        if what in ("write", "discard"):
            record = number.to_bytes(2, "little") * (size // 2)
            if writer.write(record, DISCARDED if what == "discard" else 0) and what == "write":
                written.append(record)
        elif what == "read":
            read += ring.read(limit=size)
        elif what == "commit":
            ring.commit()
            safe = len(read)
        else:
            ring.close()
            ring = writer.reader()
            del read[safe:]
    read += ring.read()
    assert read == written
    ring.close()
    os.close(writer.fd)
