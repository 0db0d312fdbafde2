"""Reads stored events: by position, agent, process, kind and time, without reading segments that cannot have any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from controlplane.errors import StoreUnavailable
from controlplane.store.engine import unavailable
from controlplane.store.schema import processes, segment_agents, segments
from controlplane.store.segments import decode, decompress, kinds_mask
from rubicon.v1 import event_pb2

_PAGE = 64


@dataclass(frozen=True, slots=True)
class Query:
    """Which events; empty or 0 means any. Times are wall-clock nanoseconds, `until_ns` is not included."""

    agents: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    pid: int = 0
    since_ns: int = 0
    until_ns: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """An event where it stands: position, boot number, clock offset in ns."""

    position: int
    boot: int
    clock_offset_ns: int
    event: event_pb2.Event


class EventReader:
    """Blocking; call it in a thread. Every page is a short read transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, query: Query, start: int, end: int) -> Iterator[list[Stored]]:
        """Matching events of positions start ≤ p < end, in order, a list for each part of a segment that has any.

        Raises:
            StoreUnavailable: the database cannot be read, or a segment is damaged.
        """
        at = start
        while at < end:
            try:
                found = self._page(query, at, end)
            except DBAPIError as error:
                raise unavailable(error) from error
            if not found:
                return
            for first in found:
                # Compaction may have put the segment into an earlier, larger one meanwhile: ask again by position.
                segment = self._data(max(first, at))
                if segment is None:
                    continue
                first, data = segment
                try:
                    plain = decompress(data)
                except ValueError as error:
                    raise StoreUnavailable(
                        f"the events from position {first} on cannot be read: {error}",
                        "restore the plane's store from a backup; later events can be read with 'since'",
                    ) from error
                for offset, part in decode(plain, skip=max(0, at - first)):
                    position = first + offset
                    if position >= end:
                        return
                    hits = [
                        Stored(p, part.boot, part.clock_offset_ns, event)
                        for p, event in enumerate(part.events, position)
                        if at <= p < end and _matches(query, event, part.clock_offset_ns)
                    ]
                    at = max(at, position + len(part.events))
                    if hits:
                        yield hits

    def bounds(self) -> tuple[int, int]:
        """The first stored position and the one after the last."""
        with self._engine.connect() as connection:
            row = connection.execute(
                select(func.min(segments.c.first_position), func.max(segments.c.first_position + segments.c.events))
            ).one()
        return (int(row[0] or 0), int(row[1] or 0))

    def _page(self, query: Query, start: int, end: int) -> list[int]:
        with self._engine.connect() as connection:
            first = segments.c.first_position
            holder = select(func.max(first)).where(first <= start).scalar_subquery()
            wanted: list[ColumnElement[bool]] = [
                first >= func.coalesce(holder, start),
                first < end,
                first + segments.c.events > start,
            ]
            agents = query.agents
            if query.pid:
                agents = _owners(connection, query) if not agents else agents & _owners(connection, query)
                if not agents:
                    return []
            if agents:
                having = select(segment_agents.c.first_position).where(segment_agents.c.agent_id.in_(agents))
                wanted.append(first.in_(having))
            if query.kinds:
                wanted.append(segments.c.kinds.bitwise_and(kinds_mask(query.kinds)) != 0)
            if query.since_ns:
                wanted.append(segments.c.last_time_ns >= query.since_ns)
            if query.until_ns:
                wanted.append(segments.c.first_time_ns < query.until_ns)
            statement = select(first).where(*wanted).order_by(first).limit(_PAGE)
            return list(connection.execute(statement).scalars())

    def _data(self, position: int) -> tuple[int, bytes] | None:
        first = segments.c.first_position
        statement = select(first, segments.c.events, segments.c.data).where(first <= position)
        try:
            with self._engine.connect() as connection:
                row = connection.execute(statement.order_by(first.desc()).limit(1)).first()
        except DBAPIError as error:
            raise unavailable(error) from error
        if row is None or row[0] + row[1] <= position:
            return None
        return int(row[0]), bytes(row[2])


def _owners(connection: Connection, query: Query) -> frozenset[str]:
    """Agents that had a process of this pid in the time asked for."""
    statement = select(processes.c.agent_id).where(processes.c.pid == query.pid).distinct()
    if query.until_ns:
        statement = statement.where(processes.c.started_ns < query.until_ns)
    if query.since_ns:
        statement = statement.where((processes.c.ended_ns >= query.since_ns) | processes.c.ended_ns.is_(None))
    return frozenset(connection.execute(statement).scalars())


def _matches(query: Query, event: event_pb2.Event, offset: int) -> bool:
    if query.agents and event.agent_id not in query.agents:
        return False
    if query.pid and event.process.pid != query.pid:
        return False
    if query.kinds and event.WhichOneof("kind") not in query.kinds:
        return False
    if query.since_ns and event.time_ns + offset < query.since_ns:
        return False
    return not query.until_ns or event.time_ns + offset < query.until_ns
