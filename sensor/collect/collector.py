"""The loop from ring to spool: read, decode, put in order, make durable, and only then let the kernel reuse the space.

A turn reads what is there (at most 8 batches of 1 000 records), so a lone event leaves at once and a flood goes in large
batches, several a sync: nothing waits for a batch to fill. Wakeups from the kernel are batched, so the ring is also polled.
While a turn is being synced the ring's descriptor is not watched: it stays readable until the commit.

Events that the sensor makes itself are put among the records by their time, so that an enrolment stands before its
agent's first fork and an end after its last exit, whatever order the two arrived in."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog

from rubicon.v1 import event_pb2, sensor_service_pb2
from sensor.collect.cgroup_path import CgroupPaths
from sensor.collect.clock import boottime_ns, clock_offset_ns
from sensor.collect.decode import DECODERS, decode_into
from sensor.collect.identity import SensorRecords
from sensor.collect.loss import LossLedger
from sensor.collect.outbox import Outbox
from sensor.collect.ports import Kernel, Sink
from sensor.errors import SpoolFull, UndecodableRecord

BATCH_RECORDS = 1000
BATCH_BYTES = 1 << 20
"""A batch is closed above this, so that it stays far below gRPC's message limit of 4 MB."""
POLL_SECONDS = 0.008
"""Half of it is the mean wait of a record that did not wake us: 5 ms of the 10 ms that an event may take to the
wire."""
TURN_BATCHES = 8
TURN_BYTES = 2 << 20
"""One turn takes so much of a busy ring, and makes it durable with one sync: at 50 000 records a second a sync for every
thousand would have to take less than 20 ms, on a disk that others use too."""
LOSS_NS = 100_000_000
TURN_SECONDS = 0.005
"""Turns of a busy ring are at least this far apart: fewer syncs, larger batches. After a pause the first turn is
immediate."""
YIELD_SECONDS = 0.2
"""A kill has the processor and the interpreter to itself for so long; as long again is the collector's. The ring holds a
second of what a fork bomb makes."""
_HOLD_NS = 1_000_000_000
_END_OF_TIME = 1 << 63
_TIME = struct.Struct("<Q")
_TIME_AT = 24
_UNDECODABLE = event_pb2.LOSS_REASON_UNDECODABLE
_SPOOL_FULL = event_pb2.LOSS_REASON_SPOOL_FULL
_log = structlog.get_logger(part="collector")


Subscriber = Callable[[event_pb2.Event], None]


class Collector:
    """Runs in one event loop. `emit` may be called from any thread, everything else from the loop's."""

    def __init__(self, kernel: Kernel, spool: Sink, records: SensorRecords) -> None:
        self._kernel = kernel
        self._spool = spool
        self._records = records
        self._loss = LossLedger(kernel.epoch, spool.ledger)
        self._cgroups = CgroupPaths()
        self._subscribers: dict[int, list[Subscriber]] = {kind: [] for kind in DECODERS}
        self._outbox = Outbox(records)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._loss_due = 0
        self._undecodable = 0
        self._say_due = 0
        self._turn_ended = 0.0
        self._by_ring = False
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None
        self._read_ahead: list[bytes] = []
        self._stop_under_way: Callable[[], bool] = lambda: False
        self._free_until = 0.0
        self._writer = ThreadPoolExecutor(1, "spool")

    # -- what others call ---------------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber, kinds: Iterable[int] = ()) -> None:
        """Call this for every decoded record (of these kinds, numbers of enum event_kind; of all when none is named).

        It runs between decoding and appending, so it must be quick; an event that is kept must be copied, for it holds
        its whole batch in memory.
        """
        for kind in kinds or self._subscribers:
            self._subscribers[kind].append(callback)

    def emit(self, event: event_pb2.Event) -> None:
        """Take an event of the sensor's own making: it gets its record id, and the present time where it has none.

        Raises:
            SensorError: it is larger than 512 kB, which no reader could take.
        """
        if not self._outbox.put(event):
            agent = int(event.agent_id, 16) if event.agent_id else 0
            self._loss.count(agent, event_pb2.EVENT_CLASS_PROCESS, _SPOOL_FULL)
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def yield_to(self, stop_under_way: Callable[[], bool]) -> None:
        """Read nothing while this is true: what a stop must do is many short steps, and who dies needs the processor too."""
        self._stop_under_way = stop_under_way

    async def flush(self) -> None:
        """Return when everything that was emitted so far is durable."""
        await self._outbox.flush()

    def stop(self) -> None:
        """End `run` after what is there has become durable."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Collect until `stop`, or until cancelled; what was read and not synced is read again by the next sensor."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._give_way()
                more = await self._turn()
                if not more and self._stopping and not self._outbox:
                    break
                if not more:
                    await self._wait()
                    if (pause := self._turn_ended + TURN_SECONDS - self._loop.time()) > 0:
                        await asyncio.sleep(pause)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._watching:
                self._loop.remove_reader(self._kernel.ring.fd)
            self._writer.shutdown(wait=False)
            self._cgroups.close()
            self._outbox.close()

    # -- one turn -----------------------------------------------------------------------------------------------------

    async def _give_way(self) -> None:
        assert self._loop is not None
        begin = self._loop.time()
        if begin < self._free_until or not self._stop_under_way():
            return
        while self._stop_under_way() and not self._stopping and self._loop.time() < begin + YIELD_SECONDS:
            await asyncio.sleep(0.002)
        self._free_until = 2 * self._loop.time() - begin

    async def _turn(self) -> bool:
        """Move what is there into the spool; True when there is probably more."""
        assert self._loop is not None
        batches: list[sensor_service_pb2.Batch] = []
        size, read = 0, False
        while True:
            records = self._read_ahead or self._kernel.ring.read(BATCH_RECORDS)
            self._read_ahead = []
            read |= bool(records)
            size += sum(map(len, records))
            drained = len(records) < BATCH_RECORDS
            batches += self._decode(records, drained)
            if drained or len(batches) >= TURN_BATCHES or size >= TURN_BYTES or self._stop_under_way():
                break
            await asyncio.sleep(0)
        ledger = self._add_losses(batches)
        if batches and not await self._store(batches, ledger):
            return False
        if read:
            self._kernel.ring.commit()
        self._outbox.settle(batches)
        if batches or self._by_ring:
            # Also after a wakeup for a record that is reserved and not yet submitted: the descriptor stays readable.
            self._turn_ended = self._loop.time()
        self._by_ring = False
        return not drained

    def _decode(self, records: list[bytes], drained: bool) -> list[sensor_service_pb2.Batch]:
        batches: list[sensor_service_pb2.Batch] = []
        offset = clock_offset_ns() if records or self._outbox else 0

        def fresh() -> sensor_service_pb2.Batch:
            batches.append(sensor_service_pb2.Batch(clock_offset_ns=offset))
            return batches[-1]

        batch: sensor_service_pb2.Batch | None = None
        size = 0
        subscribers = self._subscribers
        for record in records:
            if batch is None or size > BATCH_BYTES:
                batch, size = fresh(), 0
            if self._outbox and len(record) > _TIME_AT + 8:
                self._outbox.take(batch, _TIME.unpack_from(record, _TIME_AT)[0])
            size += len(record)
            event = batch.events.add()
            try:
                decode_into(record, event)
            except UndecodableRecord as error:
                del batch.events[-1]
                self._loss.count(error.agent, error.event_class, _UNDECODABLE)
                self._say_undecodable(error)
                continue
            if event.HasField("join"):
                event.join.cgroup_path = self._cgroups.path(event.join.cgroup_id)
            for callback in subscribers[record[0] | record[1] << 8]:
                self._tell(callback, event)
        if self._outbox:
            batch = batch or fresh()
            # With more records in the ring, an event that is younger than all we have read waits for its place.
            self._outbox.take(batch, _END_OF_TIME if drained else boottime_ns() - _HOLD_NS)
        return [b for b in batches if b.events]

    def _say_undecodable(self, error: UndecodableRecord) -> None:
        """Once a second at most: the losses carry the exact count."""
        self._undecodable += 1
        if boottime_ns() >= self._say_due:
            _log.error(
                "record_undecodable",
                agent=f"{error.agent:012x}",
                error=str(error),
                so_far=self._undecodable,
                action="report this as a defect: hooks and sensor do not agree on a record's shape",
            )
            self._say_due = boottime_ns() + 1_000_000_000

    def _tell(self, callback: Subscriber, event: event_pb2.Event) -> None:
        try:
            callback(event)
        except Exception as error:  # noqa: BLE001  # a defect in one listener must not stop collection
            _log.error("subscriber_failed", agent=event.agent_id, error=repr(error), exc_info=True)

    def _add_losses(self, batches: list[sensor_service_pb2.Batch]) -> bytes:
        """Append loss events that are due to the last batch; the ledger to write with it."""
        now = boottime_ns()
        cumulative = None
        if now >= self._loss_due:
            self._loss_due = now + LOSS_NS
            cumulative = self._kernel.losses.read()
        events = self._loss.changes(cumulative)
        if not events:
            return b""
        if not batches:
            batches.append(sensor_service_pb2.Batch(clock_offset_ns=clock_offset_ns()))
        for event in events:
            self._records.stamp(event)
            batches[-1].events.append(event)
        return self._loss.dump()

    async def _store(self, batches: list[sensor_service_pb2.Batch], ledger: bytes) -> bool:
        """Append, however long the disk stays full: meanwhile the ring keeps the data. False when told to stop."""
        assert self._loop is not None
        delay = 0.0
        while True:
            try:
                await self._loop.run_in_executor(self._writer, self._spool.append_all, batches, ledger)
            except SpoolFull as error:
                if self._stopping:
                    events = sum(len(batch.events) for batch in batches)
                    _log.error("stopped_with_full_spool", events=events, error=str(error))
                    self._outbox.discard()
                    return False
                if not delay:
                    _log.error("spool_full", error=str(error), action="records wait in the kernel's ring; free space")
                delay = min(max(delay * 2, 0.1), 2.0)
                await asyncio.sleep(delay)
            else:
                if delay:
                    _log.info("spool_recovered", sequence=batches[-1].sequence)
                return True

    async def _wait(self) -> None:
        """Until the kernel wakes us, somebody emits, or it is time to look at the loss counters."""
        assert self._loop is not None
        self._wake.clear()
        if self._outbox or self._stopping:
            return
        if not self._watching:
            self._watching = True
            self._loop.add_reader(self._kernel.ring.fd, self._readable)
        self._timer = self._loop.call_later(POLL_SECONDS, self._look)
        await self._wake.wait()
        self._timer.cancel()

    def _look(self) -> None:
        """The poll: a callback and not a turn, for it runs a hundred times a second while nothing happens."""
        assert self._loop is not None
        self._read_ahead = self._kernel.ring.read(BATCH_RECORDS)
        if self._read_ahead or boottime_ns() >= self._loss_due:
            self._wake.set()
        else:
            self._timer = self._loop.call_later(POLL_SECONDS, self._look)

    def _readable(self) -> None:
        # Until the commit the descriptor would stay readable.
        assert self._loop is not None
        self._loop.remove_reader(self._kernel.ring.fd)
        self._watching = False
        self._by_ring = True
        self._wake.set()
