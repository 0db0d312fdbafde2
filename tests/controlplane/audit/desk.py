"""An audit on a real database in a folder, and the hands of somebody who changes it behind the plane's back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from controlplane.audit.audit import Audit
from controlplane.audit.notary import Notary
from controlplane.audit.record import Deed, row
from controlplane.audit.verify import verify
from controlplane.settings import AuditSettings, StoreSettings
from controlplane.store.store import Store
from rubicon.v1.audit_chain import Report, canonical, parse

QUICK = StoreSettings(busy_timeout=0.05, give_up=0.4, retry=0.02)
SETTINGS = AuditSettings(checkpoint_records=5, checkpoint_after=60, stop_grace=0.2)
WHO = "uid 0 pid 7 @rome"


class Desk:
    """What a test holds."""

    def __init__(self, folder: Path, settings: AuditSettings = SETTINGS) -> None:
        self.folder = folder
        self._open = True
        self.store = Store(folder / "store", QUICK)
        self.audit = Audit(self.store, Notary(folder), settings)
        self.audit.start()

    async def write(self, count: int) -> None:
        """Kills of agents n1, n2, …; durable when it returns."""
        for number in range(1, count + 1):
            self.audit.requested(WHO, Deed("kill", f"agent n{number}", "00000000a001", "because"))
        assert await self.audit.settle()

    def check(self, *keys: bytes) -> Report:
        return verify(self.store.audit, self.audit.notary, keys)

    def bodies(self) -> list[dict[str, Any]]:
        return [parse(bytes(each.body)) for each in self.store.audit.run(0, 100_000)]

    async def stop(self) -> None:
        if not self._open:
            return
        self._open = False
        await self.audit.stop()
        await self.store.close()


@contextlib.asynccontextmanager
async def desk(folder: Path, settings: AuditSettings = SETTINGS) -> AsyncIterator[Desk]:
    """Open one, and close it."""
    opened = Desk(folder, settings)
    try:
        await opened.audit.settle()
        yield opened
    finally:
        await opened.stop()


class Hand:
    """Writes into the database as whoever has it can."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "store" / "rubicon.db", isolation_level=None)

    def run(self, statement: str, *values: Any) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    def body(self, place: int) -> dict[str, Any]:
        ((data,),) = self.run("SELECT body FROM audit_records WHERE sequence = ?", place)
        return parse(data)

    def hash(self, place: int) -> str:
        ((data,),) = self.run("SELECT hash FROM audit_records WHERE sequence = ?", place)
        return bytes(data).hex()

    def rewrite(self, place: int, **facts: Any) -> None:
        """Change a record so that its own hash and columns fit."""
        self.put(canonical({**self.body(place), **facts}), place)

    def put(self, data: bytes, place: int) -> None:
        values = {**row(data), "sequence": place}
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self.run(f"INSERT OR REPLACE INTO audit_records ({names}) VALUES ({marks})", *values.values())

    def follow(self, place: int) -> None:
        """Make every hash after a place fit again."""
        ((last,),) = self.run("SELECT max(sequence) FROM audit_records")
        for later in range(place + 1, last + 1):
            self.rewrite(later, previous=self.hash(later - 1))

    def cut(self, place: int, *, checkpoints: bool) -> None:
        """Take away every record after a place."""
        self.run("DELETE FROM audit_records WHERE sequence > ?", place)
        if checkpoints:
            self.run("DELETE FROM audit_checkpoints WHERE sequence > ?", place)

    def close(self) -> None:
        self._database.close()
