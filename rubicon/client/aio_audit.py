"""As audit.py, for asyncio; there the methods are described."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rubicon.client import requests
from rubicon.client.records.audit import AuditRecord, AuditReport

if TYPE_CHECKING:
    from rubicon.client.aio import AsyncClient


class AsyncAudit:
    """`client.audit`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def list(
        self,
        agent: str = "",
        *,
        action: str = "",
        identity: str = "",
        alert_id: str = "",
        response_id: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[AuditRecord]:
        """Records, newest first."""
        call = requests.list_audit(agent, action, identity, alert_id, response_id, since, until)
        return self._client.pages(call)

    async def get(self, sequence: int) -> AuditRecord:
        """One record, with those that belong to it."""
        return await self._client.call(requests.get_audit(sequence))

    async def verify(self, public_keys: Iterable[bytes] = ()) -> AuditReport:
        """Check the whole chain and every signature."""
        return await self._client.call(requests.verify_audit(public_keys))

    def export(self) -> AsyncIterator[str]:
        """Lines of an export."""
        return self._client.resuming(requests.ExportStream())
