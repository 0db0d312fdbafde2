"""The caller of the running call, and the append-only record of calls that change something."""

from __future__ import annotations

import time
from contextvars import ContextVar

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.store import schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import ids
from rubicon.v1.tokens import Claims

caller: ContextVar[Claims] = ContextVar("caller")
"""Who makes the call that runs in this context, as attested; set by api/guard.py."""

_log = logs.get("audit")


class Audit:
    """Appends to the audit table."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, identity: str, method: str, target: str, outcome: str) -> None:
        """Keep one action.

        When the store cannot take it now the log still has it: an action that was done is never undone for its record.

        Args:
            identity: as attested, or "policy" for what no caller asked for.
            method: e.g. "Kill".
            target: whom, in words, with what was asked (no secrets).
            outcome: "ok", or the reason of the refusal.
        """
        _log.info("audit", identity=identity, method=method, target=target, outcome=outcome)
        write = Write()
        write.rows.put(
            schema.audit,
            {
                "id": ids.new_id(),
                "time_ns": time.time_ns(),
                "identity": identity[:512],
                "method": method[:128],
                "target": target[:4096],
                "outcome": outcome[:64],
            },
        )
        try:
            await self._store.writer.commit(write)
        except StoreUnavailable as error:
            _log.error("audit could not be stored", error=str(error))
