"""After a restart: gives the pipeline back what it knew, from the store, before any sensor is let in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.model import Boot, HostKey, KnownAlert
from controlplane.model.changes import Changes
from controlplane.store import convert
from controlplane.store.events import Query
from controlplane.store.store import Store
from rubicon.v1 import agent_pb2, coverage_pb2, event_pb2

_log = logs.get("ingest")
LATELY_NS = 60_000_000_000
"""An agent that was killed so shortly before the plane ended may have an end that is still to come."""
ENDED = 65_536
"""Ended agents that are remembered by id, the newest: the others' late records are in no spool any more."""


class Restorable(Protocol):
    """The pipeline, as far as a restart is concerned."""

    def remember(self, boot: Boot, seen: Iterable[tuple[int, int, bytes]]) -> None:
        """Take over which records were seen."""

    def cover(self, boot: Boot, coverage: coverage_pb2.Coverage) -> None:
        """Take over what a host sees."""

    def bury(self, boot: Boot, agent_id: str) -> None:
        """This agent has ended."""

    def killed(self, agent_id: str, reason: str, wall_ns: int) -> object:
        """A kill of this agent was verified."""

    def restore(
        self, stream: HostKey, events: Sequence[event_pb2.Event], known_alerts: Mapping[str, KnownAlert]
    ) -> Changes:
        """Take stored events in again."""


async def restore(store: Store, pipeline: Restorable) -> list[tuple[HostKey, Changes]]:
    """Replay the events of agents that live, or whose end is still to come, in stored order; the others have ended.

    Returns:
        What followed from the replay and is not stored yet (for example an alert of a detector that is new in this
        version); the caller stores it and carries its responses out.

    Raises:
        StoreUnavailable: the store cannot be read.
        ValueError: what was seen is damaged.
    """
    begin = time.monotonic()
    for stored_boot in await asyncio.to_thread(store.entities.boots):
        pipeline.cover(Boot(stored_boot.host, stored_boot.boot_id), stored_boot.coverage)
    seen = await asyncio.to_thread(store.entities.seen)
    for number, rows in groupby(sorted(seen), key=lambda row: row[0]):
        pipeline.remember(store.boot(number), [(epoch, cpu, state) for _, epoch, cpu, state in rows])
    living = [agent for boot_number, agent in await asyncio.to_thread(store.entities.living_agents) if boot_number]
    unfinished = [agent for _, agent in await asyncio.to_thread(store.entities.unfinished_agents, LATELY_NS)]
    agents = frozenset(agent.id for agent in (*living, *unfinished))
    for number, agent_id in await asyncio.to_thread(store.entities.ended_agents, ENDED):
        if agent_id not in agents:
            pipeline.bury(store.boot(number), agent_id)
    if not agents:
        return []
    # A response that was wanted when the plane died, and not yet begun, is wanted again, with the same id.
    known = await asyncio.to_thread(store.entities.settled_alerts, agents)
    # No agent has events from before it was started.
    since = min(agent.started_at.seconds for agent in (*living, *unfinished)) * 1_000_000_000 - 1_000_000_000
    news: list[tuple[HostKey, Changes]] = []
    count = 0
    parts = store.events.read(Query(agents=agents, since_ns=max(0, since)), 0, store.writer.head)
    while True:
        try:
            part = await asyncio.to_thread(next, parts, None)
        except StoreUnavailable as error:
            # A watch that begins anew is better than none.
            _log.error("cannot restore further", error=str(error), agents=len(living), events=count)
            break
        if part is None:
            break
        count += len(part)
        boot = store.boot(part[0].boot)
        stream = HostKey(boot.host, boot.boot_id, part[0].clock_offset_ns)
        changes = pipeline.restore(stream, [stored.event for stored in part], known)
        if changes.alert_of or changes.responses:
            news.append((stream, Changes(responses=changes.responses, alert_of=changes.alert_of)))
    for agent in unfinished:
        if agent.state == agent_pb2.AGENT_STATE_KILLED:  # which the response said, perhaps before the events
            pipeline.killed(agent.id, agent.reason, convert.nanoseconds(agent.ended_at))
    _log.info(
        "restored",
        agents=len(living),
        unfinished=len(unfinished),
        events=count,
        seconds=round(time.monotonic() - begin, 3),
    )
    return news
