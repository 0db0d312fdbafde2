"""A crash at any byte of any write: nothing that was promised is gone, nothing is told twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensor.ship.segment import FILE_HEADER, Segment
from sensor.ship.spool import Spool
from tests.sensor.ship.events import batch, lost, numbers, segments, stamp


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def crash(folder: Path, lose: int) -> None:
    """As after a power cut: the newest segment has lost its last bytes."""
    newest = segments(folder)[-1]
    size = newest.stat().st_size
    newest.write_bytes(newest.read_bytes()[: max(0, size - lose)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400), st.booleans()), min_size=1, max_size=8), st.data())
def test_a_torn_write_costs_only_what_was_not_synced(
    base: Path, appends: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    spool, number, ledger, before = Spool(folder, stamp, segment_bytes=4096), 0, b"", b""
    last = 0
    for count, padding, with_ledger in appends:
        before = ledger
        ledger = b"told %d" % number if with_ledger else ledger
        last = spool.append(batch(number, count, padding=padding), ledger if with_ledger else b"")
        number += count
    spool.close()
    newest = segments(folder)[-1]
    written = appends[-1][0]
    # The last append is torn somewhere: at least its last byte is missing, at most all of it.
    entry = newest.stat().st_size - _size_without_last(newest)
    crash(folder, data.draw(st.integers(1, entry)))
    spool = Spool(folder, stamp, segment_bytes=4096)
    assert numbers(spool) == list(range(number - written))
    assert spool.ledger == before
    assert spool.append(batch(number - written, written)) >= last
    assert numbers(spool) == list(range(number))
    spool.close()


def _size_without_last(path: Path) -> int:
    segment, _, _ = Segment.recover(path)
    offset = previous = FILE_HEADER.size
    with path.open("rb") as file:
        for _, after in segment.entries(file.fileno(), segment.end):
            previous, offset = offset, after
    return previous


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(300, 1500), st.booleans())
def test_a_crash_around_a_drop_neither_repeats_nor_forgets_the_loss(base: Path, padding: int, survives: bool) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    spool = Spool(folder, stamp, cap_bytes=40_000, segment_bytes=4_096)
    before: dict[str, bytes] = {}
    number = 0
    while not spool.status().dropped:
        before = {path.name: path.read_bytes() for path in segments(folder)}
        spool.append(batch(number, padding=padding))
        number += 1
    spool.close()
    # The report is durable and the crash comes before the unlink; or both are, and it comes after.
    for name, content in before.items():
        if survives and not (folder / name).exists():
            (folder / name).write_bytes(content)
    spool = Spool(folder, stamp, cap_bytes=40_000, segment_bytes=4_096)
    assert lost(spool) > 0
    assert lost(spool) + len(numbers(spool)) == number
    spool.append(batch(number, padding=padding))
    assert lost(spool) + len(numbers(spool)) == number + 1
    spool.close()


def test_an_earlier_boots_batches_are_kept_apart_and_ship_on_their_own(base: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    spool = Spool(folder, stamp, boot_id="boot-a")
    spool.append(batch(1), b"told")
    spool.close()
    spool = Spool(folder, stamp, boot_id="boot-b")
    assert numbers(spool) == []
    assert spool.ledger == b""
    spool.append(batch(2))
    ((boot, path),) = spool.earlier_boots()
    assert boot == "boot-a"
    earlier = Spool(path, stamp, boot_id=boot)
    assert numbers(earlier) == [1]
    earlier.close()
    spool.close()
    spool = Spool(folder, stamp, boot_id="boot-b")
    assert numbers(spool) == [2]
    spool.close()


def test_a_crash_while_an_earlier_boot_is_moved_is_made_good(base: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    spool = Spool(folder, stamp, segment_bytes=4096, boot_id="boot-a")
    for number in range(20):
        spool.append(batch(number, padding=500))
    spool.close()
    (folder / "boot-boot-a").mkdir()
    first = segments(folder)[0]
    first.rename(folder / "boot-boot-a" / first.name)
    spool = Spool(folder, stamp, boot_id="boot-b")
    ((boot, path),) = spool.earlier_boots()
    earlier = Spool(path, stamp, boot_id=boot)
    assert numbers(earlier) == list(range(20))
    earlier.close()
    spool.close()
