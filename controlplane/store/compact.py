"""Joins small segments into large ones, in the background.

A commit holds what came in within milliseconds, often a few events, and compresses badly. Neighbours in position are
joined up to a target size and compressed better. Positions stay what they are, so cursors do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from controlplane.store.engine import unavailable
from controlplane.store.schema import segment_agents, segments
from controlplane.store.segments import SMALL, compress, decompress

_ONCE = 4096
"""Segments looked at in one step."""
_KEEP_SMALL_NS = 10 * 60 * 1_000_000_000
"""A run of small segments that does not fill the target is joined all the same when it is this old, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class _Small:
    first: int
    events: int
    first_time_ns: int
    last_time_ns: int
    kinds: int


class Compactor:
    """Blocking; call it in a thread, one at a time."""

    def __init__(self, engine: Engine, target_events: int) -> None:
        self._engine = engine
        self._target = target_events

    def step(self, *, now_ns: int | None = None, all_: bool = False) -> int:
        """Join one run of small segments; returns how many segments became one, 0 when there is nothing to do.

        Args:
            now_ns: wall clock; decides which short runs are old enough.
            all_: join a run however short or young it is.

        Raises:
            StoreUnavailable: the database is locked or full; nothing changed.
            ValueError: a segment is damaged.
        """
        try:
            run = self._run(time.time_ns() if now_ns is None else now_ns, all_)
            if run:
                self._join(run)
        except DBAPIError as error:
            raise unavailable(error) from error
        return len(run)

    def _run(self, now_ns: int, all_: bool) -> list[_Small]:
        columns = segments.c
        statement = select(
            columns.first_position, columns.events, columns.first_time_ns, columns.last_time_ns, columns.kinds
        ).where(columns.level == 0)
        with self._engine.connect() as connection:
            small = [
                _Small(*row) for row in connection.execute(statement.order_by(columns.first_position).limit(_ONCE))
            ]
        run: list[_Small] = []
        total = 0
        for segment in small:
            if run and segment.first != run[-1].first + run[-1].events:
                break
            run.append(segment)
            total += segment.events
            if total >= self._target:
                return run
        ended_by_neighbour = len(run) < len(small) or len(small) == _ONCE
        old = bool(run) and run[-1].last_time_ns < now_ns - _KEEP_SMALL_NS
        return run if run and (ended_by_neighbour or old or all_) else []

    def _join(self, run: list[_Small]) -> None:
        positions = [segment.first for segment in run]
        if len(run) == 1:
            # It is large, or it will never have a small neighbour again: only compress it better.
            data = self._data(positions)
            with self._engine.begin() as connection:
                connection.execute(
                    update(segments).where(segments.c.first_position == positions[0]).values(data=data, level=1)
                )
            return
        data = self._data(positions)
        with self._engine.begin() as connection:
            connection.execute(delete(segments).where(segments.c.first_position.between(positions[0], positions[-1])))
            owners = select(segment_agents.c.agent_id, segment_agents.c.boot).where(
                segment_agents.c.first_position.between(positions[0], positions[-1])
            )
            agents = set(map(tuple, connection.execute(owners)))
            connection.execute(
                delete(segment_agents).where(segment_agents.c.first_position.between(positions[0], positions[-1]))
            )
            kinds = 0
            for segment in run:
                kinds |= segment.kinds
            connection.execute(
                insert(segments),
                {
                    "first_position": positions[0],
                    "events": sum(segment.events for segment in run),
                    "first_time_ns": min(segment.first_time_ns for segment in run),
                    "last_time_ns": max(segment.last_time_ns for segment in run),
                    "kinds": kinds,
                    "level": 1,
                    "data": data,
                },
            )
            connection.execute(
                insert(segment_agents),
                [{"agent_id": a, "first_position": positions[0], "boot": b} for a, b in sorted(agents)],
            )

    def _data(self, positions: list[int]) -> bytes:
        with self._engine.connect() as connection:
            blobs = connection.execute(
                select(segments.c.data)
                .where(segments.c.first_position.between(positions[0], positions[-1]))
                .order_by(segments.c.first_position)
            ).scalars()
            return compress(b"".join(decompress(blob) for blob in blobs), SMALL)
