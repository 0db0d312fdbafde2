"""The door to the store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.model import Boot
from controlplane.settings import StoreSettings
from controlplane.store import schema
from controlplane.store.audit import AuditReader
from controlplane.store.compact import Compactor
from controlplane.store.engine import open_engine, unavailable
from controlplane.store.entities import EntityReader
from controlplane.store.events import EventReader
from controlplane.store.writer import Writer
from rubicon.v1 import coverage_pb2

_log = logs.get("store")


class Store:
    """Open it inside a running loop; `writer` is for the loop, the readers block and are for threads."""

    def __init__(self, folder: Path, settings: StoreSettings | None = None) -> None:
        """Open folder/rubicon.db and start the writer.

        Raises:
            StoreUnavailable: the database cannot be opened or is not ours.
        """
        settings = settings or StoreSettings()
        self._settings = settings
        self._engine = open_engine(folder, settings.busy_timeout)
        self.entities = EntityReader(self._engine)
        self.events = EventReader(self._engine)
        self.audit = AuditReader(self._engine)
        self.compactor = Compactor(self._engine, settings.compact_events)
        try:
            self.writer = Writer(self._engine, settings)
            self._numbers = {Boot(b.host, b.boot_id): b.id for b in self.entities.boots()}
        except DBAPIError as error:
            raise unavailable(error) from error
        self._boots = {number: boot for boot, number in self._numbers.items()}
        self._compacting = asyncio.create_task(self._compact(settings.compact_after), name="compact")

    def number(self, boot: Boot) -> int:
        """The boot's small number; 0 when it never connected."""
        return self._numbers.get(boot, 0)

    def boot(self, number: int) -> Boot:
        """The inverse.

        Raises:
            KeyError: no such number.
        """
        return self._boots[number]

    async def remember(self, boot: Boot, clock_offset_ns: int, coverage: coverage_pb2.Coverage) -> tuple[int, int]:
        """Keep that a sensor of this boot connected; returns the boot's number and its highest acknowledged batch.

        Raises:
            StoreUnavailable: it could not be written.
        """
        number, acknowledged = await asyncio.to_thread(self._remember, boot, clock_offset_ns, coverage)
        self._numbers[boot] = number
        self._boots[number] = boot
        return number, acknowledged

    async def close(self) -> None:
        """Write what waits, then close."""
        self._compacting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._compacting
        if not await asyncio.to_thread(self.writer.stop):
            _log.error("stopped before everything was written; the sensors send it again")
        await asyncio.to_thread(self._engine.dispose)

    def _remember(self, boot: Boot, clock_offset_ns: int, coverage: coverage_pb2.Coverage) -> tuple[int, int]:
        columns = schema.boots.c
        facts = {
            "clock_offset_ns": clock_offset_ns,
            "last_seen_ns": time.time_ns(),
            "coverage": coverage.SerializeToString(),
        }
        identity = (columns.host == boot.host, columns.boot_id == boot.boot_id)
        try:
            with self._engine.begin() as connection:
                changed = connection.execute(update(schema.boots).where(*identity).values(**facts))
                if not changed.rowcount:
                    new = {"host": boot.host, "boot_id": boot.boot_id, "acknowledged": 0}
                    connection.execute(insert(schema.boots), {**new, **facts})
                row = connection.execute(select(columns.id, columns.acknowledged).where(*identity)).one()
        except DBAPIError as error:
            raise unavailable(error) from error
        return int(row[0]), int(row[1])

    async def _compact(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                while await asyncio.to_thread(self.compactor.step):
                    await asyncio.sleep(0)
            except StoreUnavailable as error:
                _log.warning("cannot compact now", error=str(error))
            except ValueError as error:
                _log.error("cannot compact", error=str(error))
