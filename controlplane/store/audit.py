"""Reads the audit as it lies there; what it says, and whether that is true, is the business of controlplane/audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from controlplane.store import schema
from controlplane.store.engine import unavailable
from rubicon.v1.audit_chain import GENESIS, Signed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records; empty is any."""

    agent_id: str = ""
    action: str = ""
    identity: str = ""
    """Or how it begins."""
    alert_id: str = ""
    response_id: str = ""
    since_ns: int = 0
    until_ns: int = 0


class AuditReader:
    """Blocking; call it in a thread.

    Raises, from every method:
        StoreUnavailable: the database cannot be read.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def head(self) -> tuple[int, str]:
        """(sequence, hash) of the last record; (0, GENESIS) when there is none."""
        columns = schema.audit_records.c
        rows = self._all(select(columns.sequence, columns.hash).order_by(columns.sequence.desc()).limit(1))
        return (rows[0].sequence, bytes(rows[0].hash).hex()) if rows else (0, GENESIS)

    def page(self, wanted: Wanted, before: int, limit: int) -> Sequence[Any]:
        """Newest first, of those before a place (0: from the end)."""
        columns = schema.audit_records.c
        where: list[ColumnElement[bool]] = [
            column == value
            for column, value in (
                (columns.agent_id, wanted.agent_id),
                (columns.action, wanted.action),
                (columns.alert_id, wanted.alert_id),
                (columns.response_id, wanted.response_id),
            )
            if value
        ]
        if wanted.identity:
            where.append(columns.identity.startswith(wanted.identity, autoescape=True))
        if wanted.since_ns:
            where.append(columns.time_ns >= wanted.since_ns)
        if wanted.until_ns:
            where.append(columns.time_ns < wanted.until_ns)
        if before:
            where.append(columns.sequence < before)
        return self._all(select(schema.audit_records).where(*where).order_by(columns.sequence.desc()).limit(limit))

    def record(self, sequence: int) -> Any | None:
        """One."""
        rows = self._all(select(schema.audit_records).where(schema.audit_records.c.sequence == sequence))
        return rows[0] if rows else None

    def results(self, request: int) -> Sequence[Any]:
        """What became of a request, oldest first."""
        columns = schema.audit_records.c
        return self._all(select(schema.audit_records).where(columns.request == request).order_by(columns.sequence))

    def run(self, after: int, limit: int) -> Sequence[Any]:
        """Records after a place, in order."""
        columns = schema.audit_records.c
        return self._all(
            select(schema.audit_records).where(columns.sequence > after).order_by(columns.sequence).limit(limit)
        )

    def request(self, identity: str, action: str, agent_id: str) -> int:
        """The newest request of somebody to do something to an agent; 0 when there is none."""
        columns = schema.audit_records.c
        where = (
            columns.phase == "requested",
            columns.identity == identity,
            columns.action == action,
            columns.agent_id == agent_id,
        )
        return self._run(lambda c: int(c.execute(select(func.max(columns.sequence)).where(*where)).scalar() or 0))

    def checkpoints(self) -> list[Signed]:
        """All, in order."""
        columns = schema.audit_checkpoints.c
        rows = self._all(select(schema.audit_checkpoints).order_by(columns.sequence))
        return [Signed(bytes(row.body), bytes(row.signature)) for row in rows]

    def _all(self, statement: Any) -> Sequence[Any]:
        return self._run(lambda connection: list(connection.execute(statement).all()))

    def _run(self, read: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return read(connection)
        except DBAPIError as error:
            raise unavailable(error) from error
