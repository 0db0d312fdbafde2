"""Alerts."""

from __future__ import annotations

from datetime import datetime

from rubicon.client.errors import InvalidArgument
from rubicon.client.records.alert import SEVERITIES, Alert
from rubicon.client.records.ended import Ended
from rubicon.client.records.moment import stamp
from rubicon.client.requests.call import PAGE, Call, message, token
from rubicon.v1 import alert_pb2, alert_service_pb2


def list_alerts(agent: str, min_severity: str, since: datetime | None, show_secrets: bool) -> Call[list[Alert]]:
    """A page of alerts, newest first."""
    request = message(
        alert_service_pb2.ListAlertsRequest,
        agent=agent,
        min_severity=_severity(min_severity),
        since=stamp(since),
        page_size=PAGE,
        show_secrets=show_secrets,
    )
    return Call("AlertService", "ListAlerts", request, lambda answer: [*map(Alert.of, answer.alerts)], next_page=token)


def get_alert(alert_id: str, show_secrets: bool) -> Call[Alert]:
    """One alert."""
    request = message(alert_service_pb2.GetAlertRequest, id=alert_id, show_secrets=show_secrets)
    return Call("AlertService", "GetAlert", request, lambda answer: Alert.of(answer.alert))


def watch_alerts(agent: str, min_severity: str, existing: bool, show_secrets: bool) -> Call[Alert | Ended | None]:
    """Alerts as they happen; the first answer is None and says that the watch stands, Ended that its agent is over."""
    request = message(
        alert_service_pb2.WatchAlertsRequest,
        agent=agent,
        min_severity=_severity(min_severity),
        include_existing=existing,
        show_secrets=show_secrets,
    )

    def read(answer: alert_service_pb2.WatchAlertsResponse) -> Alert | Ended | None:
        if answer.HasField("ended"):
            return Ended(answer.ended)
        return Alert.of(answer.alert) if answer.HasField("alert") else None

    return Call("AlertService", "WatchAlerts", request, read, timeout=None)


def _severity(name: str) -> alert_pb2.Severity.ValueType:
    if not name:
        return alert_pb2.SEVERITY_UNSPECIFIED
    if name not in SEVERITIES:
        raise InvalidArgument(f"severity {name!r}: use one of {', '.join(SEVERITIES)}")
    return alert_pb2.Severity.Value(f"SEVERITY_{name.upper()}")
