"""The spool on a real disk: order, restart, acknowledgement, damage, a second sensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from rubicon.v1 import sensor_service_pb2
from sensor.errors import SpoolError, SpoolLocked
from sensor.ship.spool import Spool
from tests.sensor.ship.events import batch, held, numbers, segments, stamp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_what_was_appended_waits_in_order_also_after_a_restart(folder: Path) -> None:
    spool = Spool(folder, stamp)
    first = [spool.append(batch(n)) for n in range(1, 4)]
    spool.close()
    spool = Spool(folder, stamp)
    first.append(spool.append(batch(4)))
    assert first == list(range(first[0], first[0] + 4))
    assert numbers(spool) == [1, 2, 3, 4]
    assert (spool.first_sequence, spool.last_sequence, spool.status().batches) == (first[0], first[-1], 4)
    assert [b.sequence for b in held(spool, after=first[1])] == first[2:]
    spool.close()


def test_a_reader_goes_on_when_more_is_appended_and_over_segments(folder: Path) -> None:
    spool = Spool(folder, stamp, segment_bytes=4096)
    reader = spool.reader()
    assert reader.next() is None
    seen = []
    for n in range(1, 51):
        spool.append(batch(n, padding=500))
        item = reader.next()
        assert item is not None
        seen.append(sensor_service_pb2.Batch.FromString(item[1]).events[0].record.sequence)
        assert reader.next() is None
    assert seen == list(range(1, 51))
    assert len(segments(folder)) > 3
    reader.close()
    spool.close()


def test_acknowledged_batches_are_deleted_and_the_numbers_go_on(folder: Path) -> None:
    spool = Spool(folder, stamp, segment_bytes=4096)
    sequences = [spool.append(batch(n, padding=500)) for n in range(1, 51)]
    spool.ack(sequences[24])
    assert (spool.first_sequence, spool.status().batches) == (sequences[25], 25)
    spool.ack(sequences[3])  # out of order: says nothing new
    assert spool.acknowledged == sequences[24]
    spool.ack(sequences[-1])
    assert len(segments(folder)) == 1
    assert spool.status().batches == 0
    assert spool.first_sequence == sequences[-1] + 1
    spool.close()
    spool = Spool(folder, stamp)
    assert spool.append(batch(51)) == sequences[-1] + 1
    spool.close()


def test_an_acknowledgement_of_what_never_was_deletes_nothing_later(folder: Path) -> None:
    spool = Spool(folder, stamp)
    last = spool.append(batch(1))
    spool.ack(last + 1000)
    spool.append(batch(2))
    assert spool.first_sequence == last + 1
    spool.close()


def test_a_deleted_spool_never_repeats_a_number(folder: Path) -> None:
    spool = Spool(folder, stamp)
    last = [spool.append(batch(n)) for n in range(1, 200)][-1]
    spool.close()
    for file in folder.iterdir():
        file.unlink()
    spool = Spool(folder, stamp)
    assert spool.append(batch(1)) > last
    spool.close()


def test_the_ledger_is_as_durable_as_the_batch_it_came_with(folder: Path) -> None:
    spool = Spool(folder, stamp, segment_bytes=4096)
    assert spool.ledger == b""
    spool.append(batch(1), b"ledger 1")
    sequence = spool.append(batch(2), b"ledger 2")
    for n in range(3, 100):
        sequence = spool.append(batch(n, padding=500))
    spool.ack(sequence)
    spool.close()
    for _ in range(3):
        spool = Spool(folder, stamp, segment_bytes=4096)
        assert spool.ledger == b"ledger 2"
        spool.ack(sequence)
        spool.close()
    assert len(segments(folder)) == 1


@pytest.mark.parametrize("cut", [1, 5, 19, 20, 40])
def test_a_half_written_tail_is_cut_and_what_was_whole_stays(folder: Path, cut: int) -> None:
    spool = Spool(folder, stamp)
    last = [spool.append(batch(n, padding=100)) for n in (1, 2, 3)][-1]
    spool.close()
    (file,) = segments(folder)
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    spool = Spool(folder, stamp)
    assert numbers(spool) == [1, 2]
    assert spool.append(batch(4)) > last
    assert numbers(spool) == [1, 2, 4]
    spool.close()


def test_a_flipped_bit_costs_what_follows_it_in_its_segment_only(folder: Path) -> None:
    spool = Spool(folder, stamp, segment_bytes=4096)
    for n in range(1, 31):
        spool.append(batch(n, padding=500))
    spool.close()
    first, *others = segments(folder)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0x10
    first.write_bytes(data)
    assert others
    spool = Spool(folder, stamp, segment_bytes=4096)
    left = numbers(spool)
    assert left == sorted(left)
    assert (left[0], left[-1]) == (1, 30)
    assert 20 < len(left) < 30
    spool.close()


def test_damage_that_comes_while_it_is_open_costs_the_rest_of_its_segment_only(folder: Path) -> None:
    spool = Spool(folder, stamp, segment_bytes=4096)
    for n in range(1, 31):
        spool.append(batch(n, padding=500))
    first = segments(folder)[0]
    with first.open("r+b") as file:
        file.seek(first.stat().st_size // 2)
        file.write(b"\xff\xff\xff\xff")
    left = numbers(spool)
    assert (left[0], left[-1]) == (1, 30)
    assert 20 < len(left) < 30
    spool.close()


def test_a_file_that_is_no_segment_is_set_aside(folder: Path) -> None:
    spool = Spool(folder, stamp)
    last = spool.append(batch(1))
    spool.close()
    (folder / f"{last + 1:020d}.segment").write_bytes(b"")
    (folder / f"{last + 2:020d}.segment").write_bytes(b"not a segment at all")
    (folder / "junk.new").write_bytes(b"half")
    spool = Spool(folder, stamp)
    assert numbers(spool) == [1]
    assert spool.append(batch(2)) > last + 2
    assert len(list(folder.glob("*.damaged"))) == 2
    assert not list(folder.glob("*.new"))
    spool.close()


def test_two_sensors_cannot_have_one_spool(folder: Path) -> None:
    spool = Spool(folder, stamp)
    with pytest.raises(SpoolLocked, match="another sensor"):
        Spool(folder, stamp)
    spool.close()
    Spool(folder, stamp).close()


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot use the spool folder"):
        Spool(tmp_path / "file" / "spool", stamp)


def test_the_folder_is_for_root_alone(folder: Path) -> None:
    spool = Spool(folder, stamp)
    spool.append(batch(1))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert segments(folder)[0].stat().st_mode & 0o777 == 0o600
    spool.close()
