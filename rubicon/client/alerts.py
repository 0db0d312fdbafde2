"""Alerts, past and live."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rubicon.client import requests
from rubicon.client.records.alert import Alert
from rubicon.client.resume import AlertWatch

if TYPE_CHECKING:
    from rubicon.client.sync import Client


class Alerts:
    """`client.alerts`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        agent: str = "",
        *,
        min_severity: str = "",
        since: datetime | None = None,
        show_secrets: bool = False,
    ) -> Iterator[Alert]:
        """Alerts of one agent or of all, newest first.

        Args:
            min_severity: not below this one (alert.SEVERITIES).
        """
        return self._client.pages(requests.list_alerts(agent, min_severity, since, show_secrets))

    def get(self, alert_id: str, *, show_secrets: bool = False) -> Alert:
        """One alert.

        Raises:
            NotFound: there is none.
        """
        return self._client.call(requests.get_alert(alert_id, show_secrets))

    def watch(
        self,
        agent: str = "",
        *,
        min_severity: str = "",
        detector: str = "",
        existing: bool = False,
        show_secrets: bool = False,
    ) -> Iterator[Alert]:
        """Alerts as they happen, again whenever one has changed; survives a restart of the plane.

        Args:
            detector: only this one's.
            existing: begin with those that exist already, oldest first.
        """
        return self._client.resuming(AlertWatch(agent, min_severity, detector, existing, show_secrets))
