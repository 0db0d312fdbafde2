"""AuditService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from controlplane.api import find, paging
from controlplane.audit.audit import Audit
from controlplane.audit.verify import verify
from controlplane.errors import InvalidArgument, NotFound, StoreUnavailable
from controlplane.store import convert
from controlplane.store.audit import Wanted
from controlplane.store.store import Store
from rubicon.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc
from rubicon.v1.audit_chain import Signed, parse

_RUN = 500
"""Records in one message of an export."""
_KEYS = 32


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Look at the audit, check it, take it away."""

    def __init__(self, store: Store, audit: Audit) -> None:
        self._reader = store.audit
        self._store = store
        self._audit = audit

    async def ListAudit(  # noqa: N802
        self, request: audit_service_pb2.ListAuditRequest, context: Any
    ) -> audit_service_pb2.ListAuditResponse:
        """Raises: AgentNotFound, InvalidArgument."""
        size = paging.size(request.page_size)
        wanted = Wanted(
            agent_id=(await find.agent(self._store, request.agent)).id if request.agent else "",
            action=request.action,
            identity=request.identity,
            alert_id=request.alert_id,
            response_id=request.response_id,
            since_ns=convert.nanoseconds(request.since),
            until_ns=convert.nanoseconds(request.until),
        )
        before = paging.parse(request.page_token)
        await self._audit.settle(1.0)
        rows = await asyncio.to_thread(self._reader.page, wanted, before[0] if before else 0, size + 1)
        token = paging.token(rows[size - 1].sequence, "") if len(rows) > size else ""
        return audit_service_pb2.ListAuditResponse(records=map(record, rows[:size]), next_page_token=token)

    async def GetAudit(  # noqa: N802
        self, request: audit_service_pb2.GetAuditRequest, context: Any
    ) -> audit_service_pb2.GetAuditResponse:
        """Raises: NotFound."""
        await self._audit.settle(1.0)
        row = None
        if request.sequence < 2**63:
            row = await asyncio.to_thread(self._reader.record, request.sequence)
        if row is None:
            raise NotFound(f"there is no audit record {request.sequence}", "list them with 'rubicon audit list'")
        if row.request:
            asked = await asyncio.to_thread(self._reader.record, row.request)
            related = [asked] if asked is not None else []
        else:
            related = list(await asyncio.to_thread(self._reader.results, request.sequence))
        return audit_service_pb2.GetAuditResponse(record=record(row), related=map(record, related))

    async def VerifyAudit(  # noqa: N802
        self, request: audit_service_pb2.VerifyAuditRequest, context: Any
    ) -> audit_service_pb2.VerifyAuditResponse:
        """Raises: InvalidArgument, StoreUnavailable."""
        if len(request.public_keys) > _KEYS or any(len(key) != 32 for key in request.public_keys):
            raise InvalidArgument(f"public_keys: at most {_KEYS}, of 32 bytes each")
        # What is durable is signed first, so that nothing can be cut off the end unseen.
        await self._audit.seal()
        try:
            found = await asyncio.to_thread(verify, self._reader, self._audit.notary, list(request.public_keys))
        except OSError as error:
            raise StoreUnavailable(f"the file of checkpoints cannot be read: {error}") from error
        report = audit_pb2.AuditReport(
            records=found.records,
            checkpoints=found.checkpoints,
            last=found.last,
            covered=found.covered,
            keys=found.keys,
            faults=[
                audit_pb2.AuditFault(first=each.first, last=each.last, time=each.time, what=each.what)
                for each in found.faults
            ],
        )
        return audit_service_pb2.VerifyAuditResponse(report=report, fingerprint=self._audit.notary.fingerprint)

    async def ExportAudit(  # noqa: N802
        self, request: audit_service_pb2.ExportAuditRequest, context: Any
    ) -> AsyncIterator[audit_service_pb2.ExportAuditResponse]:
        """Everything up to now. Raises: StoreUnavailable."""
        end, last = await self._audit.seal()
        stored = await asyncio.to_thread(self._reader.checkpoints)
        try:
            kept = await asyncio.to_thread(self._audit.notary.read)
        except OSError as error:
            raise StoreUnavailable(f"the file of checkpoints cannot be read: {error}") from error
        both = dict.fromkeys([*stored, *kept])
        yield audit_service_pb2.ExportAuditResponse(public_key=self._audit.notary.public, checkpoints=map(signed, both))
        place = 0
        while rows := [r for r in await asyncio.to_thread(self._reader.run, place, _RUN) if r.sequence <= last]:
            yield audit_service_pb2.ExportAuditResponse(records=map(record, rows))
            place = rows[-1].sequence
        yield audit_service_pb2.ExportAuditResponse(end=signed(end))


def signed(statement: Signed) -> audit_pb2.AuditSigned:
    """For the wire."""
    return audit_pb2.AuditSigned(content=statement.content, signature=statement.signature)


def record(row: Any) -> audit_pb2.AuditRecord:
    """A row, as what its body says; one that was damaged says that."""
    raw = audit_pb2.AuditRecord(sequence=row.sequence, hash=bytes(row.hash), content=bytes(row.body))
    try:
        body = parse(bytes(row.body))
        raw.time.FromJsonString(str(body["time"]))
        raw.MergeFrom(
            audit_pb2.AuditRecord(
                phase=audit_pb2.AuditPhase.Value(f"AUDIT_PHASE_{str(body['phase']).upper()}"),
                request=int(body["request"]),
                identity=str(body["identity"]),
                action=str(body["action"]),
                target=str(body["target"]),
                agent_id=str(body["agent"]),
                reason=str(body["reason"]),
                alert_id=str(body["alert"]),
                response_id=str(body["response"]),
                outcome=str(body["outcome"]),
                detail=str(body["detail"]),
            )
        )
    except (ValueError, KeyError):
        raw.detail = "this record was changed and cannot be read: see 'rubicon audit verify'"
    return raw
