"""What the audit says, and what a check of it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rubicon.client.records.enum import word
from rubicon.client.records.moment import moment, nanoseconds
from rubicon.v1 import audit_pb2, audit_service_pb2
from rubicon.v1.audit_chain import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One record."""

    sequence: int
    """Place in the chain, from 1 without a gap."""
    time_ns: int
    phase: str
    """requested, result, refused, reported or noted (audit.proto)."""
    request: int
    """Of a result: the place of its request; 0 where that is not known."""
    identity: str
    """Who asked, as attested."""
    action: str
    target: str
    """To whom, in words."""
    agent_id: str
    reason: str
    alert_id: str
    response_id: str
    outcome: str
    """"ok", a response's state, or the reason of a refusal; empty for a request."""
    detail: str
    hash: str
    """SHA-256, 64 hex digits."""
    related: tuple[AuditRecord, ...] = ()
    """From `get`: of a result its request; of a request its results."""

    @property
    def time(self) -> datetime | None:
        """When it was made."""
        return moment(self.time_ns)

    @classmethod
    def of(cls, message: audit_pb2.AuditRecord, related: tuple[AuditRecord, ...] = ()) -> AuditRecord:
        """From the wire."""
        return cls(
            sequence=message.sequence,
            time_ns=nanoseconds(message.time),
            phase=word(audit_pb2.AuditPhase, message.phase),
            request=message.request,
            identity=message.identity,
            action=message.action,
            target=message.target,
            agent_id=message.agent_id,
            reason=message.reason,
            alert_id=message.alert_id,
            response_id=message.response_id,
            outcome=message.outcome,
            detail=message.detail,
            hash=message.hash.hex(),
            related=related,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFault:
    """Something that is not as it was written."""

    first: int
    """First record that it concerns."""
    last: int
    time: str
    """Of the first record, or of the last one before it where that is gone; RFC 3339, empty when not known."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a check of the whole audit found."""

    records: int
    checkpoints: int
    """Signed by a trusted key."""
    last: int
    """Place of the last record."""
    covered: int
    """Highest place that a trusted signature covers."""
    fingerprint: str
    """Of the key that was trusted first: the plane's, or the export's."""
    keys: Mapping[str, int] = field(default_factory=dict)
    """Fingerprint → signatures by that key."""
    faults: tuple[AuditFault, ...] = ()
    """By place; at most 1000."""

    @property
    def ok(self) -> bool:
        """Nothing was changed."""
        return not self.faults

    @classmethod
    def of(cls, answer: audit_service_pb2.VerifyAuditResponse) -> AuditReport:
        """From the wire."""
        report = answer.report
        return cls(
            records=report.records,
            checkpoints=report.checkpoints,
            last=report.last,
            covered=report.covered,
            fingerprint=answer.fingerprint,
            keys=dict(report.keys),
            faults=tuple(AuditFault(first=f.first, last=f.last, time=f.time, what=f.what) for f in report.faults),
        )

    @classmethod
    def made(cls, report: Report, fingerprint: str) -> AuditReport:
        """From a check that was made here."""
        return cls(
            records=report.records,
            checkpoints=report.checkpoints,
            last=report.last,
            covered=report.covered,
            fingerprint=fingerprint,
            keys=dict(report.keys),
            faults=tuple(AuditFault(first=f.first, last=f.last, time=f.time, what=f.what) for f in report.faults),
        )
