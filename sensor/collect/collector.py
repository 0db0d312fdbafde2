"""The loop from ring to spool: read, decode, put in order, make durable, and only then let the kernel reuse the space.

What was read is made durable at a pace of its own (pace.py), at most 8 batches of 1 000 records with one sync. The kernel
wakes us for the first record after a commit, and for the first that is prompt; for others listeners wait a few hundredths of a
second.

Events that the sensor makes itself are put among the records by their time, so that an enrolment stands before its
agent's first fork and an end after its last exit, whatever order the two arrived in."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog

from rubicon.v1 import event_pb2
from sensor.collect.clock import boottime_ns
from sensor.collect.identity import SensorRecords
from sensor.collect.loss import LossLedger
from sensor.collect.lot import BATCH_RECORDS, Lot, Subscriber
from sensor.collect.outbox import Outbox
from sensor.collect.pace import Pace
from sensor.collect.ports import Kernel, Sink
from sensor.errors import SpoolFull

LOSS_NS = 250_000_000
"""So often the loss counters are read."""
YIELD_SECONDS = 0.2
"""A kill has the processor and the interpreter to itself for so long; as long again is the collector's. The ring holds a
second of what a fork bomb makes."""
_SPOOL_FULL = event_pb2.LOSS_REASON_SPOOL_FULL
_log = structlog.get_logger(part="collector")


class Collector:
    """Runs in one event loop. `emit` may be called from any thread, everything else from the loop's."""

    def __init__(self, kernel: Kernel, spool: Sink, records: SensorRecords) -> None:
        self._kernel = kernel
        self._spool = spool
        self._records = records
        self._loss = LossLedger(kernel.epoch, spool.ledger)
        self._outbox = Outbox(records)
        self._pace = Pace()
        self._lot = Lot(self._outbox, self._loss, self._pace)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._loss_due = 0
        self._wakeups = select.epoll(1)
        self._wakeups.register(kernel.ring.fd, select.EPOLLIN | select.EPOLLET)
        self._timer: asyncio.TimerHandle | None = None
        self._read_ahead: list[bytes] = []
        self._to_commit = False
        self._stop_under_way: Callable[[], bool] = lambda: False
        self._free_until = 0.0
        self._writer = ThreadPoolExecutor(1, "spool")

    # -- what others call ---------------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber, kinds: Iterable[int] = ()) -> None:
        """Call this for every decoded record (of these kinds, numbers of enum event_kind; of all when none is named).

        It runs between decoding and appending, so it must be quick; an event that is kept must be copied, for it holds
        its whole batch in memory.
        """
        self._lot.subscribe(callback, kinds)

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
        # edge-triggered, in an epoll of our own: the ring's descriptor itself is readable from the first record to the commit
        self._loop.add_reader(self._wakeups.fileno(), self._readable)
        try:
            while True:
                await self._give_way()
                more = await self._turn()
                if not more and self._stopping and not self._outbox:
                    break
                if not more:
                    await self._wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._loop.remove_reader(self._wakeups.fileno())
            self._wakeups.close()
            self._writer.shutdown(wait=False)
            self._lot.close()
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
        """Read what is there, and make it durable when that is due; True when there is probably more."""
        assert self._loop is not None
        lot = self._lot
        while True:
            records = self._read_ahead or self._kernel.ring.read(BATCH_RECORDS)
            self._read_ahead = []
            self._to_commit |= bool(records)
            drained = len(records) < BATCH_RECORDS
            lot.add(records, drained)
            if drained or lot.full or self._stop_under_way():
                break
            await asyncio.sleep(0)
        # without a lot there is nothing to wait for, and losses may be due
        due = not (drained and lot) or lot.full or self._stopping or self._pace.due <= self._loop.time()
        return due and await self._save() and not drained

    async def _save(self) -> bool:
        """Make what was read durable, with the losses that are due, and give the ring its space back. False when the disk is
        full and the sensor stops."""
        assert self._loop is not None
        ledger = self._add_losses()
        if self._lot and not await self._store(ledger):
            return False
        if self._to_commit:
            self._kernel.ring.commit()
            self._to_commit = False
        if self._lot:
            self._outbox.settle(self._lot.clear())
            self._pace.stored(self._loop.time())
        return True

    def _add_losses(self) -> bytes:
        """Append loss events that are due to the last batch; the ledger to write with it."""
        now = boottime_ns()
        cumulative = None
        if now >= self._loss_due:
            self._loss_due = now + LOSS_NS
            cumulative = self._kernel.losses.read()
        events = self._loss.changes(cumulative)
        if not events:
            return b""
        for event in events:
            self._records.stamp(event)
        self._lot.tell_losses(events)
        return self._loss.dump()

    async def _store(self, ledger: bytes) -> bool:
        """Append, however long the disk stays full: meanwhile the ring keeps the data. False when told to stop."""
        assert self._loop is not None
        batches = self._lot.batches
        delay = 0.0
        while True:
            try:
                await self._loop.run_in_executor(self._writer, self._spool.append_all, batches, ledger)
            except SpoolFull as error:
                if self._stopping:
                    events = sum(len(batch.events) for batch in batches)
                    _log.error("stopped_with_full_spool", events=events, error=str(error))
                    self._outbox.discard()
                    self._lot.clear()
                    return False
                if not delay:
                    _log.error("spool_full", error=str(error), action="records wait in the kernel's ring; free space")
                delay = min(max(delay * 2, 0.1), 2.0)
                await asyncio.sleep(delay)
            else:
                if delay:
                    _log.info("spool_recovered", sequence=batches[-1].sequence)
                return True

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Until there is something to read, to make durable or to tell, or it is time to look at the loss counters."""
        self._wake.clear()
        if self._outbox or self._stopping:
            return
        self._look()
        await self._wake.wait()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """A callback of the timer and not a turn, for it runs many times a second while nothing happens. Also once after each
        commit: for a record that came before it the kernel wakes nobody."""
        assert self._loop is not None
        self._read_ahead = self._kernel.ring.read(BATCH_RECORDS)
        now = self._loop.time()
        if self._lot:
            wait = min(self._pace.look_seconds, self._pace.due - now)
        else:
            wait = (self._loss_due - boottime_ns()) / 1e9
        if self._read_ahead or wait <= 0:
            self._wake.set()
        else:
            self._timer = self._loop.call_later(wait, self._look)

    def _readable(self) -> None:
        """The kernel woke us; also for a record that is reserved and not yet submitted."""
        self._wakeups.poll(0)
        self._wake.set()
