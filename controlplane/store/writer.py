"""The one writer: takes what came in, in order, and commits it in groups.

A group is several batches in one transaction: their events (one segment), the entities that they changed, what was seen
and what is acknowledged. Nothing is forgotten on the way: a group that cannot be written (database locked, disk full)
stays at the head of the queue and is tried again until it can. The plane's memory has already taken those events in, so
giving them up would lose them: a re-sent record counts as seen. For the same reason a defect (a value that no column
holds) ends the writer and, by `died`, the plane: one that is started anew has the memory that fits the store.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import Engine, Executable, bindparam, case, func, insert, select, update
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.settings import StoreSettings
from controlplane.store import schema
from controlplane.store.engine import unavailable
from controlplane.store.rows import Row, Rows, upsert
from controlplane.store.segments import Index, Part, compress, encode
from controlplane.store.write import Write

__all__ = ["Listener", "Write", "Writer"]
_log = logs.get("store")
GROUP_S = 0.02
"""Seconds that a transaction should take: what is urgent waits for the one under way, at the mean half of that."""
PATIENCE_S = 0.1
"""Seconds that what nobody waits for stays in the queue at most, for company: a transaction costs the same with one event in it
as with fifty."""
SMALLEST = 200
"""Events of one group that are not too many in any case; a commit alone takes a millisecond or two."""
_DEFECTS = (DataError, IntegrityError, InterfaceError, NotSupportedError, ProgrammingError)
"""Errors of the driver that no waiting cures: what was to be written is at fault, not the disk."""


Listener = Callable[[int, Write], None]


class Writer:
    """A thread that commits; every other method is for the event loop's thread."""

    def __init__(self, engine: Engine, settings: StoreSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._queue: deque[Write] = deque()
        self._urgent: deque[Write] = deque()
        self._group: list[Write] = []
        self._size = SMALLEST
        self._due = 0.0
        self._wake = threading.Condition()
        self._stopping = False
        self._pending = 0
        self._queued = 0
        self._room = asyncio.Event()
        self._room.set()
        self._upserts: dict[str, Executable] = {}
        self._loop = asyncio.get_running_loop()
        self.listeners: list[Listener] = []
        """Called on the loop, in the order of positions, after each write has become durable."""
        self.failure: StoreUnavailable | None = None
        """Why the last attempt failed; None when it went through."""
        self.died = asyncio.Event()
        """The writer has ended over a defect, which `failure` says: nothing is written any more, and all waits failed."""
        with engine.connect() as connection:
            last = select(func.max(schema.segments.c.first_position + schema.segments.c.events))
            self._next = int(connection.execute(last).scalar() or 0)
        self.head = self._next
        """Position that the next event will get; all below are durable."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write, *, urgent: bool = False) -> asyncio.Future[int]:
        """Queue a write. Cancelling the future withdraws a write that has not begun.

        Args:
            urgent: it goes before all that are not, in a transaction of its own: for what a stop waits for. It must have
                no events, and no entity that a batch may change.

        Raises:
            StoreUnavailable: the plane is stopping, or the writer has died.
        """
        done: asyncio.Future[int] = self._loop.create_future()
        write.done = done
        with self._wake:
            if self._stopping:
                raise StoreUnavailable("the plane is stopping")
            if self.died.is_set() and self.failure is not None:
                raise self.failure
            if urgent:
                self._urgent.append(write)
            else:
                self._schedule(write)
                self._queue.append(write)
            self._queued += len(write.events)
            self._pending += len(write.events)
            if self._pending >= self._settings.pending_events:
                self._room.clear()
            if not write.patient or self._queued >= self._size or len(self._queue) == 1:
                self._wake.notify()
        return done

    def _schedule(self, write: Write) -> None:
        """When the queue is to be written, now that this comes to it."""
        if not write.patient:
            self._due = 0.0
        elif not self._queue:
            self._due = time.monotonic() + PATIENCE_S

    async def commit(self, write: Write, *, urgent: bool = False) -> int:
        """Queue a change of entities and wait for it; `urgent` as for `submit`.

        Raises:
            StoreUnavailable: it could not be written in time; it is withdrawn.
        """
        try:
            async with asyncio.timeout(self._settings.give_up):
                return await self.submit(write, urgent=urgent)
        except TimeoutError:
            raise self.failure or StoreUnavailable("the store did not answer in time") from None

    async def wait(self, writing: asyncio.Future[int]) -> int:
        """Wait for what was submitted, without withdrawing it when it takes too long.

        Raises:
            StoreUnavailable: it is not written in time, and may be later; or the writer has died.
        """
        await asyncio.wait({writing}, timeout=self._settings.give_up)
        if not writing.done():
            raise self.failure or StoreUnavailable("the store did not answer in time")
        return await writing

    async def room(self) -> None:
        """Wait until fewer events than the limit wait for the disk.

        Raises:
            StoreUnavailable: the disk did not take anything in time, or the writer has died.
        """
        try:
            async with asyncio.timeout(self._settings.give_up):
                await self._room.wait()
        except TimeoutError:
            raise self.failure or StoreUnavailable("too many events wait for the disk") from None
        if self.died.is_set() and self.failure is not None:
            raise self.failure

    def stop(self, timeout: float = 5.0) -> bool:
        """Write what waits and end the thread; False when something could not be written in `timeout` seconds.

        Blocks: call it in a thread. What was not written was not acknowledged, so its sensor sends it again.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        return not (self._thread.is_alive() or self._queue or self._urgent or self.died.is_set())

    def _run(self) -> None:
        try:
            while self._next_group():
                if self._group and not self._persist(self._group):
                    return
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody may wait for a thread that is gone
            self.failure = StoreUnavailable(
                f"the store's writer ended over a defect: {error!r}",
                "report it with the plane's log; a plane that is started again goes on from what is stored",
            )
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._fail, self.failure)
            _log.exception("the store's writer has ended over a defect: the plane must start anew")

    def _next_group(self) -> bool:
        """Wait for something to write; False when there is nothing left and the plane stops."""
        with self._wake:
            while not self._stopping and not self._urgent:
                now = time.monotonic()
                if self._queue and (self._due <= now or self._queued >= self._size):
                    break
                self._wake.wait(self._due - now if self._queue else None)
            self._group = self._take()
            return bool(self._group or self._queue or self._urgent or not self._stopping)

    def _persist(self, group: list[Write]) -> bool:
        """Write a group, however long the disk refuses it; False when the plane stops meanwhile.

        Raises:
            Exception: a defect; nothing of the group was written.
        """
        while True:
            try:
                begin = time.monotonic()
                count = self._write(group)
                self._pace(count, time.monotonic() - begin)
                break
            except _DEFECTS:
                raise
            except DBAPIError as error:
                failure = unavailable(error)
                if self.failure is None:
                    _log.error("cannot write", error=str(failure), events=sum(len(w.events) for w in group))
                self.failure = failure
            if self._stopping:
                with self._wake:
                    self._queue.extendleft(reversed(group))
                    self._queued += sum(len(write.events) for write in group)
                return False
            time.sleep(self._settings.retry)
        if self.failure is not None:
            _log.info("writing again")
            self.failure = None
        first, self._next = self._next, self._next + count
        self._tell(group, first)
        return True

    def _pace(self, events: int, seconds: float) -> None:
        """Let the next group be as large as takes GROUP_S, from what this one took."""
        if events >= self._size // 2 or seconds > GROUP_S:
            wanted = int(self._size * min(2.0, max(0.5, GROUP_S / max(seconds, 1e-4))))
            self._size = max(SMALLEST, min(self._settings.group_events, wanted))

    def _fail(self, failure: StoreUnavailable) -> None:
        """The writer has died: whoever waits learns it at once."""
        with self._wake:
            self.died.set()
            waiting = [*self._group, *self._urgent, *self._queue]
        self._room.set()
        for write in waiting:
            if write.done is not None and not write.done.done():
                write.done.set_exception(failure)
                write.done.exception()  # whoever does not look at it learns it from `died`

    def _take(self) -> list[Write]:
        if self._urgent:
            urgent = [write for write in self._urgent if write.done is None or not write.done.cancelled()]
            self._urgent.clear()
            return urgent
        group: list[Write] = []
        events = 0
        while self._queue and events < self._size:
            write = self._queue.popleft()
            self._queued -= len(write.events)
            if write.done is not None and write.done.cancelled() and not write.events:
                continue
            group.append(write)
            events += len(write.events)
        return group

    def _write(self, group: list[Write]) -> int:
        """Commit a group; returns how many events it had.

        Raises:
            DBAPIError: nothing of it was written.
        """
        rows = Rows()
        index = Index()
        parts = [Part(w.boot, w.clock_offset_ns, w.events) for w in group if w.events]
        for part in parts:
            index.add(part)
        boots: dict[int, Row] = {}
        for write in group:
            rows.merge(write.rows)
            if write.boot:
                acknowledged = max(write.acknowledged, boots.get(write.boot, {}).get("new_acknowledged", 0))
                boots[write.boot] = {
                    "key": write.boot,
                    "new_acknowledged": acknowledged,
                    "new_offset": write.clock_offset_ns,
                    "now": time.time_ns(),
                }
        data = compress(encode(parts)) if parts else b""
        with self._engine.begin() as connection:
            for table, values in rows.tables():
                statement = self._upserts.get(table.name)
                if statement is None:
                    statement = self._upserts[table.name] = upsert(table, self._engine.dialect.name)
                connection.execute(statement, values)
            if boots:
                connection.execute(_BOOTS, list(boots.values()))
            if parts:
                connection.execute(
                    insert(schema.segments),
                    {
                        "first_position": self._next,
                        "events": index.events,
                        "first_time_ns": index.first_time_ns,
                        "last_time_ns": index.last_time_ns,
                        "kinds": index.kinds,
                        "level": 0,
                        "data": data,
                    },
                )
                connection.execute(
                    insert(schema.segment_agents),
                    [{"agent_id": a, "first_position": self._next, "boot": b} for a, b in sorted(index.agents)],
                )
        return index.events

    def _tell(self, group: list[Write], first: int) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish, group, first)

    def _finish(self, group: list[Write], first: int) -> None:
        with self._wake:
            self._pending -= sum(len(write.events) for write in group)
            if self._pending < self._settings.pending_events:
                self._room.set()
        for write in group:
            position = first
            first += len(write.events)
            self.head = first
            if write.done is not None and not write.done.done():
                write.done.set_result(position)
            for listener in self.listeners:
                try:
                    listener(position, write)
                except Exception:  # noqa: BLE001 - a defect in one must not keep the others, and who waits, from their turn
                    _log.exception("listener failed")


_BOOTS = (
    update(schema.boots)
    .where(schema.boots.c.id == bindparam("key"))
    .values(
        # never back: a write of the plane's own acknowledges nothing, and its number is 0
        acknowledged=case(
            (schema.boots.c.acknowledged < bindparam("new_acknowledged"), bindparam("new_acknowledged")),
            else_=schema.boots.c.acknowledged,
        ),
        clock_offset_ns=bindparam("new_offset"),
        last_seen_ns=bindparam("now"),
    )
)
