"""The audit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rubicon.client.audit_file import lines
from rubicon.client.records.audit import AuditRecord, AuditReport
from rubicon.client.records.moment import stamp
from rubicon.client.requests.call import PAGE, Call, message, token
from rubicon.v1 import audit_service_pb2

_CHECK_S = 900.0
"""Seconds for a check: about 4 for 100 000 records."""


def list_audit(
    agent: str,
    action: str,
    identity: str,
    alert_id: str,
    response_id: str,
    since: datetime | None,
    until: datetime | None,
) -> Call[list[AuditRecord]]:
    """A page of records, newest first."""
    request = message(
        audit_service_pb2.ListAuditRequest,
        agent=agent,
        action=action,
        identity=identity,
        alert_id=alert_id,
        response_id=response_id,
        since=stamp(since),
        until=stamp(until),
        page_size=PAGE,
    )
    return Call(
        "AuditService",
        "ListAudit",
        request,
        lambda answer: [*map(AuditRecord.of, answer.records)],
        next_page=token,
    )


def get_audit(sequence: int) -> Call[AuditRecord]:
    """One record with those that belong to it."""

    def read(answer: audit_service_pb2.GetAuditResponse) -> AuditRecord:
        return AuditRecord.of(answer.record, tuple(map(AuditRecord.of, answer.related)))

    request = message(audit_service_pb2.GetAuditRequest, sequence=sequence)
    return Call("AuditService", "GetAudit", request, read)


def verify_audit(public_keys: Iterable[bytes]) -> Call[AuditReport]:
    """What is wrong with the plane's audit."""
    request = message(audit_service_pb2.VerifyAuditRequest, public_keys=public_keys)
    return Call("AuditService", "VerifyAudit", request, AuditReport.of, timeout=_CHECK_S)


class ExportStream:
    """The lines of an export; one that is broken off begins anew or not at all."""

    def __init__(self) -> None:
        self.endless = False

    def call(self) -> Call[list[str]]:
        """All of it."""
        return Call("AuditService", "ExportAudit", audit_service_pb2.ExportAuditRequest(), lines, timeout=None)

    def take(self, answer: list[str]) -> list[str]:
        """Every line counts."""
        return answer
