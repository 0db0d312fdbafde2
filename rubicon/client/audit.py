"""The audit, as the client sees it: who did what to whom, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rubicon.client import requests
from rubicon.client.records.audit import AuditRecord, AuditReport

if TYPE_CHECKING:
    from rubicon.client.sync import Client


class Audit:
    """`client.audit`. Nothing here changes it."""

    def __init__(self, client: Client) -> None:
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
    ) -> Iterator[AuditRecord]:
        """Records, newest first; what is empty filters nothing.

        Args:
            identity: who asked, or how that begins ("uid 1000").
        """
        call = requests.list_audit(agent, action, identity, alert_id, response_id, since, until)
        return self._client.pages(call)

    def get(self, sequence: int) -> AuditRecord:
        """One record; `related` has its request or its results.

        Raises:
            NotFound: there is none.
        """
        return self._client.call(requests.get_audit(sequence))

    def verify(self, public_keys: Iterable[bytes] = ()) -> AuditReport:
        """Check the whole chain and every signature; takes about 4 seconds for 100 000 records.

        Args:
            public_keys: earlier keys to trust besides the plane's own, 32 raw bytes each.
        """
        return self._client.call(requests.verify_audit(public_keys))

    def export(self) -> Iterator[str]:
        """Lines of an export, without their newlines; `rubicon.client.audit_file.check` checks such a file anywhere."""
        return self._client.resuming(requests.ExportStream())
