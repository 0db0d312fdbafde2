"""The loop over a real spool on disk: order, durability before commit, loss, full disks, listeners that fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2, ids, sensor_service_pb2
from sensor.collect import pace
from sensor.collect.clock import boottime_ns
from sensor.collect.collector import Collector
from sensor.collect.identity import SensorRecords
from sensor.collect.lot import BATCH_RECORDS
from sensor.collect.outbox import EMIT_LIMIT
from sensor.collect.pace import SOON_SECONDS
from sensor.errors import SensorError, SpoolFull
from sensor.kernel.enums import EventFlag
from sensor.ship.spool import Spool
from tests.sensor.collect import records
from tests.sensor.collect.ring import MemoryKernel


class Bench:
    """A collector over a spool, and what became durable."""

    def __init__(self, folder: Path, kernel: MemoryKernel | None = None) -> None:
        self.folder = folder
        self.kernel = kernel or MemoryKernel()
        self.records = SensorRecords()
        self.spool = Spool(folder, self.records.stamp)
        self.collector = Collector(self.kernel, self.spool, self.records)

    def batches(self) -> list[sensor_service_pb2.Batch]:
        reader = self.spool.reader()
        found = []
        while (batch := reader.next()) is not None:
            found.append(sensor_service_pb2.Batch.FromString(batch[1]))
        reader.close()
        return found

    def events(self) -> list[event_pb2.Event]:
        return [event for batch in self.batches() for event in batch.events]

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.002)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.collector.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            self.collector.stop()
            async with asyncio.timeout(10):
                await task
            self.spool.close()
            self.kernel.ring.close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


async def test_records_reach_the_disk_in_ring_order_and_only_then_the_ring_is_advanced(bench: Bench) -> None:
    durable_at_commit: list[int] = []
    commit = bench.kernel.ring.commit

    def watched() -> None:
        durable_at_commit.append(len(bench.events()))
        commit()

    bench.kernel.ring.commit = watched  # type: ignore[method-assign]
    async with bench.running():
        bench.kernel.ring.put(records.fork(sequence=n) for n in range(18500))
        await bench.until(lambda: bench.kernel.ring.committed == 18500)
        assert [event.record.sequence for event in bench.events()] == list(range(18500))
        assert durable_at_commit == [8000, 16000, 18500]
        assert max(len(batch.events) for batch in bench.batches()) <= BATCH_RECORDS
        numbers = [batch.sequence for batch in bench.batches()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_large_records_make_small_batches(bench: Bench) -> None:
    async with bench.running():
        bench.kernel.ring.put(records.execute(argv=b"x" * 16384, sequence=n) for n in range(200))
        await bench.until(lambda: bench.kernel.ring.committed == 200)
        assert max(batch.ByteSize() for batch in bench.batches()) < 1 << 21
        assert len(bench.events()) == 200


async def test_a_lone_event_does_not_wait(bench: Bench) -> None:
    waits = []
    async with bench.running():
        for n in range(20):
            await asyncio.sleep(2.5 * SOON_SECONDS)
            start = time.perf_counter()
            bench.kernel.ring.put([records.connect(sequence=n)])
            await bench.until(lambda n=n: bench.kernel.ring.committed == n + 1)  # type: ignore[misc]
            waits.append(time.perf_counter() - start)
    assert sorted(waits)[10] < 0.01, waits


async def test_processes_wait_for_company_and_a_connection_takes_them_along(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOON_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(pace, name, 60.0)
    seen: list[int] = []
    bench.collector.subscribe(lambda event: seen.append(event.record.sequence))
    async with bench.running():
        for n in (1, 2, 3):
            bench.kernel.ring.put([records.fork(sequence=n)])
            await bench.until(lambda n=n: n in seen)  # type: ignore[misc]
        assert (bench.kernel.ring.committed, len(bench.events())) == (0, 0)
        bench.kernel.ring.put([records.connect(sequence=4)])
        await bench.until(lambda: bench.kernel.ring.committed == 4)
        assert [len(batch.events) for batch in bench.batches()] == [4]


async def test_a_program_that_an_agent_has_not_run_before_does_not_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOON_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(pace, name, 60.0)
    monkeypatch.setattr(pace, "LEAST_SECONDS", 0.001)
    monkeypatch.setattr(pace.Pace, "look_seconds", 0.001)
    async with bench.running():
        bench.kernel.ring.put([records.execute(sequence=1)])
        bench.kernel.ring.put([records.fork(sequence=2)])
        await bench.until(lambda: bench.kernel.ring.committed == 2)
        bench.kernel.ring.put([records.execute(sequence=3)])
        await asyncio.sleep(0.1)
        assert bench.kernel.ring.committed == 2
        bench.kernel.ring.put([records.execute(sequence=4, flags=EventFlag.MEMFD)])
        await bench.until(lambda: bench.kernel.ring.committed == 4)


async def test_looking_for_losses_does_not_make_the_loop_spin(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been stored was prompt; the next that is not would have long to wait."""
    for name in ("SOON_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(pace, name, 60.0)
    async with bench.running():
        bench.kernel.ring.put([records.connect()])
        await bench.until(lambda: bench.kernel.ring.committed == 1)
        before = bench.kernel.ring.reads
        await asyncio.sleep(0.6)
        assert bench.kernel.ring.reads - before < 100


async def test_nothing_read_is_left_behind_at_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOON_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(pace, name, 60.0)
    async with bench.running():
        for n in (1, 2):
            bench.kernel.ring.put([records.fork(sequence=n)])
            await bench.until(lambda n=n: bench.kernel.ring.cursor + bench.kernel.ring.committed == n)  # type: ignore[misc]
    assert bench.kernel.ring.committed == 2
    again = Bench(bench.folder)
    assert [e.record.sequence for e in again.events()] == [1, 2]
    again.spool.close()


async def test_a_busy_record_does_not_make_the_loop_spin(bench: Bench) -> None:
    async with bench.running():
        bench.kernel.ring.put([records.fork()])
        await bench.until(lambda: bench.kernel.ring.committed == 1)
        # Reserved and not submitted: readable, and nothing to read.
        bench.kernel.ring.put([])
        os.eventfd_write(bench.kernel.ring.fd, 1)
        before = bench.kernel.ring.reads
        await asyncio.sleep(0.2)
        assert bench.kernel.ring.reads - before < 100
        os.eventfd_read(bench.kernel.ring.fd)


async def test_an_undecodable_record_is_counted_for_its_agent_and_the_rest_goes_on(bench: Bench) -> None:
    broken = records.connect()[:-1]
    async with bench.running():
        bench.kernel.ring.put([records.fork(), broken, broken, b"", records.fork(sequence=8)])
        await bench.until(lambda: bench.kernel.ring.committed == 5)
        events = bench.events()
        assert [e.record.sequence for e in events if e.HasField("fork")] == [7, 8]
        losses = {(e.agent_id, e.loss.event_class, e.loss.reason): e.loss.count for e in events if e.HasField("loss")}
        assert losses == {
            ("", 0, event_pb2.LOSS_REASON_UNDECODABLE): 1,
            (records.AGENT_ID, event_pb2.EVENT_CLASS_FLOW, event_pb2.LOSS_REASON_UNDECODABLE): 2,
        }


async def test_emitted_events_are_stamped_and_stand_where_their_time_puts_them(bench: Bench) -> None:
    enrol = event_pb2.Event(agent_id=records.AGENT_ID, time_ns=1_500, enrol=event_pb2.Enrol(name="a"))
    finish = event_pb2.Event(agent_id=records.AGENT_ID, time_ns=3_500, finish=event_pb2.Finish(reason="exited"))
    now = event_pb2.Event(probe=event_pb2.Probe(token="t"))
    for event in (finish, now, enrol):
        bench.collector.emit(event)
    bench.kernel.ring.put(records.fork(sequence=n, time_ns=n * 1000) for n in (1, 2, 3, 4))
    before = boottime_ns()
    async with bench.running():
        await bench.collector.flush()
        events = bench.events()
    assert [e.WhichOneof("kind") for e in events] == ["fork", "enrol", "fork", "fork", "finish", "fork", "probe"]
    made = {e.record.sequence: e for e in events if e.record.cpu == ids.SENSOR_CPU}
    assert sorted(made) == [1, 2, 3]
    assert {e.record.epoch for e in made.values()} == {bench.records.epoch}
    assert before - 10**9 < made[2].time_ns <= boottime_ns()


async def test_an_event_of_our_own_waits_for_older_records_that_are_still_in_the_ring(bench: Bench) -> None:
    start = boottime_ns()
    bench.kernel.ring.put(records.fork(sequence=n, time_ns=start + n) for n in range(1500))
    bench.collector.emit(event_pb2.Event(time_ns=start + 1400, finish=event_pb2.Finish()))
    async with bench.running():
        await bench.collector.flush()
        kinds = [e.WhichOneof("kind") for e in bench.events()]
    assert kinds.index("finish") == 1400


async def test_emit_and_flush_from_another_thread_wake_the_loop(bench: Bench) -> None:
    async with bench.running():
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        await asyncio.to_thread(bench.collector.emit, event_pb2.Event(probe=event_pb2.Probe(token="x")))
        await bench.collector.flush()
        assert time.perf_counter() - start < 1
        assert bench.events()[-1].probe.token == "x"
        await bench.collector.flush()


async def test_an_event_that_no_reader_could_take_is_refused(bench: Bench) -> None:
    with pytest.raises(SensorError, match="shorten"):
        bench.collector.emit(event_pb2.Event(enrol=event_pb2.Enrol(command=["x" * 600_000])))
    async with bench.running():
        pass
    assert not bench.spool.status().batches


async def test_listeners_see_every_record_before_it_is_appended_and_cannot_stop_it(bench: Bench) -> None:
    seen: list[tuple[str, int]] = []

    def listener(event: event_pb2.Event) -> None:
        seen.append((event.WhichOneof("kind") or "", len(bench.events())))
        bench.collector.emit(event_pb2.Event(time_ns=event.time_ns, ssh_config=event_pb2.SshConfig(about=event.record)))
        raise RuntimeError("defect in a listener")

    bench.collector.subscribe(listener, kinds=(2,))
    async with bench.running():
        bench.kernel.ring.put([records.fork(sequence=1), records.execute(sequence=2), records.fork(sequence=3)])
        await bench.until(lambda: bench.kernel.ring.committed == 3)
        await bench.collector.flush()
        assert seen == [("exec", 0)]
        told = [e for e in bench.events() if e.HasField("ssh_config")]
        assert [(e.ssh_config.about.sequence, e.time_ns) for e in told] == [(2, 5_000_000_000)]


async def test_losses_are_told_once_also_over_restarts(tmp_path: Path) -> None:
    kernel = MemoryKernel()
    kernel.losses.counts = {(records.AGENT, 2, 2): 5}
    told: list[tuple[str, int, int]] = []
    for total in (5, 5, 9):
        kernel.ring = MemoryKernel().ring
        kernel.losses.counts[records.AGENT, 2, 2] = total
        bench = Bench(tmp_path / "spool", kernel)
        async with bench.running():
            await bench.until(lambda b=bench: b.collector._loss_due > 0)  # type: ignore[misc]
        bench = Bench(tmp_path / "spool")
        told = [(e.agent_id, e.loss.reason, e.loss.count) for e in bench.events()]
        bench.spool.close()
    assert told == [(records.AGENT_ID, 2, 5), (records.AGENT_ID, 2, 4)]


async def test_a_full_ring_is_several_batches_and_one_sync(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), sync(fd)))
    bench.kernel.ring.put(records.fork(sequence=n) for n in range(5500))
    async with bench.running():
        await bench.until(lambda: bench.kernel.ring.committed == 5500)
        assert [len(batch.events) for batch in bench.batches()] == [1000] * 5 + [500]
        assert len(syncs) == 1


async def test_a_full_disk_leaves_the_records_in_the_ring_and_recovers(bench: Bench) -> None:
    append, full = bench.spool.append_all, True

    def failing(batches: Sequence[sensor_service_pb2.Batch], ledger: bytes = b"") -> int:
        if full:
            raise SpoolFull("no space")
        return append(batches, ledger)

    bench.spool.append_all = failing  # type: ignore[method-assign]
    async with bench.running():
        bench.kernel.ring.put([records.fork()])
        await asyncio.sleep(0.3)
        assert bench.kernel.ring.committed == 0
        for _ in range(EMIT_LIMIT + 3):
            bench.collector.emit(event_pb2.Event(agent_id=records.AGENT_ID, probe=event_pb2.Probe()))
        full = False
        await bench.until(lambda: bench.kernel.ring.committed == 1)
        await bench.collector.flush()
        await bench.until(lambda: any(e.HasField("loss") for e in bench.events()))
        (loss,) = [e for e in bench.events() if e.HasField("loss")]
        assert (loss.agent_id, loss.loss.reason, loss.loss.count) == (
            records.AGENT_ID, event_pb2.LOSS_REASON_SPOOL_FULL, 3,
        )  # fmt: skip


async def test_a_sensor_killed_between_sync_and_commit_only_repeats_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool")
    bench.kernel.ring.commit = lambda: None  # type: ignore[method-assign]
    bench.kernel.ring.put([records.fork(sequence=1), records.fork(sequence=2)])
    task = asyncio.create_task(bench.collector.run())
    await bench.until(lambda: len(bench.events()) == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bench.spool.close()
    kernel = MemoryKernel()
    kernel.ring.put([records.fork(sequence=1), records.fork(sequence=2), records.fork(sequence=3)])
    again = Bench(tmp_path / "spool", kernel)
    async with again.running():
        await again.until(lambda: kernel.ring.committed == 3)
        assert [e.record.sequence for e in again.events()] == [1, 2, 1, 2, 3]
    bench.kernel.ring.close()
