"""AlertService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from controlplane.api import find, mask, paging
from controlplane.api.ending import Ending
from controlplane.api.hub import Hub
from controlplane.errors import NotFound
from controlplane.store import convert
from controlplane.store.store import Store
from rubicon.v1 import alert_pb2, alert_service_pb2, alert_service_pb2_grpc

_EXISTING = 10_000
"""Existing alerts that a watch begins with at most: the newest."""


class AlertServicer(alert_service_pb2_grpc.AlertServiceServicer):
    """Alerts, past and live."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def ListAlerts(  # noqa: N802
        self, request: alert_service_pb2.ListAlertsRequest, context: Any
    ) -> alert_service_pb2.ListAlertsResponse:
        """Raises: AgentNotFound, InvalidArgument."""
        size = paging.size(request.page_size)
        found = await asyncio.to_thread(
            self._store.entities.alerts,
            agents=await find.agent_ids(self._store, request.agent),
            min_severity=request.min_severity,
            since_ns=convert.nanoseconds(request.since),
            after=paging.parse(request.page_token),
            limit=size + 1,
        )
        token = ""
        if len(found) > size:
            found = found[:size]
            token = paging.token(convert.nanoseconds(found[-1].time), found[-1].id)
        shown = found if request.show_secrets else [mask.alert(alert) for alert in found]
        return alert_service_pb2.ListAlertsResponse(alerts=shown, next_page_token=token)

    async def GetAlert(  # noqa: N802
        self, request: alert_service_pb2.GetAlertRequest, context: Any
    ) -> alert_service_pb2.GetAlertResponse:
        """Raises: NotFound."""
        alert = await asyncio.to_thread(self._store.entities.alert, request.id)
        if alert is None:
            raise NotFound(f"there is no alert {request.id!r}")
        return alert_service_pb2.GetAlertResponse(alert=alert if request.show_secrets else mask.alert(alert))

    async def WatchAlerts(  # noqa: N802
        self, request: alert_service_pb2.WatchAlertsRequest, context: Any
    ) -> AsyncIterator[alert_service_pb2.WatchAlertsResponse]:
        """First an empty message, which says that the watch stands; then alerts, again whenever one has changed. Where
        one agent is named, the agent itself once it has ended, and nothing after it.

        Raises: AgentNotFound; TooSlow when the watcher does not keep up.
        """
        agents = await find.agent_ids(self._store, request.agent)
        agent_id = next(iter(agents), "")
        ending = Ending(self._store, agent_id, linger=0.0)
        sent: dict[str, bytes] = {}
        with self._hub.watch_alerts(agent_id) as watch:
            existing: list[alert_pb2.Alert] = []
            if request.include_existing:
                existing = await asyncio.to_thread(
                    self._store.entities.alerts,
                    agents=agents,
                    min_severity=request.min_severity,
                    limit=_EXISTING,
                )
            yield alert_service_pb2.WatchAlertsResponse()
            for alert in reversed(existing):
                sent[alert.id] = alert.SerializeToString(deterministic=True)
                yield self._response(alert, request.show_secrets)
            if agent_id:
                watch.touch()
            async for news in watch:
                if news is None:
                    agent = await ending.behind(watch)
                    if agent is not None:
                        yield alert_service_pb2.WatchAlertsResponse(ended=mask.agent(agent))
                        return
                    continue
                if news.severity < request.min_severity or (agents and news.agent_id not in agents):
                    continue
                # What was read from the store may also have come through the queue.
                if sent and sent.pop(news.id, b"") == news.SerializeToString(deterministic=True):
                    continue
                yield self._response(news, request.show_secrets)

    def _response(self, alert: alert_pb2.Alert, show_secrets: bool) -> alert_service_pb2.WatchAlertsResponse:
        response = alert_service_pb2.WatchAlertsResponse(alert=alert)
        if not show_secrets:
            mask.alert(response.alert)
        return response
