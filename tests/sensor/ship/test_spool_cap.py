"""At the cap the oldest goes, and what went is told to the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from rubicon.v1 import event_pb2
from sensor.ship.spool import Spool
from tests.sensor.ship.events import AGENT, batch, held, lost, numbers, segments, stamp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_the_oldest_goes_and_the_loss_is_exact_per_agent_and_class(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=200_000, segment_bytes=20_000)
    for n in range(0, 2000, 10):
        spool.append(batch(n, count=10, padding=300, agent=AGENT if n % 20 else "000000000001"))
        assert sum(path.stat().st_size for path in segments(folder)) <= 200_000
    left = numbers(spool)
    assert left == list(range(2000 - len(left), 2000))
    assert lost(spool) + len(left) == 2000
    losses = [e for b in held(spool) for e in b.events if e.HasField("loss")]
    assert {e.agent_id for e in losses} == {AGENT, "000000000001"}
    assert {(e.loss.event_class, e.loss.reason) for e in losses} == {
        (event_pb2.EVENT_CLASS_PAYLOAD, event_pb2.LOSS_REASON_SPOOL_FULL)
    }
    assert all(e.record.cpu == 0xFFFFFFFF and e.time_ns for e in losses)
    assert spool.status().dropped == lost(spool)
    spool.close()
    spool = Spool(folder, stamp, cap_bytes=200_000, segment_bytes=20_000)
    assert lost(spool) + len(numbers(spool)) == 2000
    spool.close()


def test_enrolments_ends_and_losses_outlive_the_drop_of_their_segment(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=100_000, segment_bytes=10_000)
    kept = batch(0, count=0)
    for kind in (
        event_pb2.Event(agent_id=AGENT, enrol=event_pb2.Enrol(name="a")),
        event_pb2.Event(agent_id=AGENT, loss=event_pb2.Loss(event_class=event_pb2.EVENT_CLASS_FLOW, count=5)),
        event_pb2.Event(agent_id=AGENT, tamper=event_pb2.Tamper(action="bpf")),
        event_pb2.Event(agent_id=AGENT, finish=event_pb2.Finish(reason="exited")),
    ):
        stamp(kind)
        kept.events.append(kind)
    spool.append(kept)
    for n in range(1000):
        spool.append(batch(n, padding=500))
    events = [e for b in held(spool) for e in b.events]
    for event in kept.events:
        assert events.count(event) == 1  # with its own record id, so a plane that had it drops it
    assert lost(spool) - 5 + len(numbers(spool)) == 1000
    spool.close()


def test_carrying_over_cannot_fill_the_spool(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=100_000, segment_bytes=10_000)
    for _ in range(300):
        large = batch(0, count=0)
        event = event_pb2.Event(agent_id=AGENT, enrol=event_pb2.Enrol(name="x" * 1000))
        stamp(event)
        large.events.append(event)
        spool.append(large)
    enrols = [e for b in held(spool) for e in b.events if e.HasField("enrol")]
    assert lost(spool) + len(enrols) == 300
    assert spool.status().bytes <= 100_000
    spool.close()


def test_acknowledged_batches_are_no_loss_when_they_go(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=100_000, segment_bytes=10_000)
    for n in range(1000):
        spool.ack(spool.append(batch(n, padding=500)))
    assert (lost(spool), spool.status().dropped) == (0, 0)
    spool.close()


def test_the_ledger_outlives_a_drop(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=60_000, segment_bytes=6_000)
    spool.append(batch(1), b"told")
    for n in range(500):
        spool.append(batch(n, padding=500))
    spool.close()
    spool = Spool(folder, stamp, cap_bytes=60_000, segment_bytes=6_000)
    assert spool.ledger == b"told"
    spool.close()


def test_a_reader_that_is_overtaken_by_a_drop_goes_on_with_what_is_left(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=60_000, segment_bytes=6_000)
    reader = spool.reader()
    for n in range(10):
        spool.append(batch(n, padding=500))
    assert reader.next() is not None
    for n in range(10, 1000):
        spool.append(batch(n, padding=500))
    sequences = []
    while (item := reader.next()) is not None:
        sequences.append(item[0])
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == spool.last_sequence
    reader.close()
    spool.close()


def test_a_batch_that_is_larger_than_the_cap_is_taken_alone(folder: Path) -> None:
    spool = Spool(folder, stamp, cap_bytes=50_000, segment_bytes=5_000)
    spool.append(batch(1))
    spool.append(batch(2, padding=100_000))
    spool.append(batch(3))
    assert numbers(spool)[-1] == 3
    assert lost(spool) + len(numbers(spool)) == 3
    spool.close()
