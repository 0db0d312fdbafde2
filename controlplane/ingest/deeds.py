"""What was done at a sensor without the plane: at its local socket, or because a time was over. It comes up as an event,
and is audited in the transaction that stores the event, so once, also when the batch comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controlplane.audit.audit import Audit
from controlplane.audit.record import Deed, rfc3339
from controlplane.model import Agent, HostKey
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import event_pb2, response_pb2

SENSOR = "rubicon-sensor"
"""Who asks where a time is over."""
_KINDS = frozenset({"contain", "enrol", "finish"})


@dataclass(frozen=True, slots=True)
class Told:
    """An event that tells of a deed."""

    event: event_pb2.Event
    identity: str
    deed: Deed
    detail: str


class Deeds:
    """For the event loop's thread."""

    def __init__(
        self, store: Store, audit: Audit, agent: Callable[[str], Agent | None], is_begun: Callable[[str], bool]
    ) -> None:
        """
        Args:
            agent: the pipeline's.
            is_begun: the plane asked for this response, and the store does not know it yet.
        """
        self._store = store
        self._audit = audit
        self._agent = agent
        self._is_begun = is_begun

    async def look(self, host: HostKey, events: Iterable[event_pb2.Event]) -> list[Told]:
        """Deeds that the plane did not ask for; before the events are taken in.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        said = [event for event in events if event.WhichOneof("kind") in _KINDS]
        told = [one for one in (self._told(host, event) for event in said) if one is not None]
        told = [one for one in told if not self._is_begun(one.deed.response_id)]
        return await asyncio.to_thread(self._unknown, told) if told else []

    def keep(self, told: Iterable[Told], fresh: Sequence[event_pb2.Event], write: Write) -> None:
        """Audit those whose event is new, with the write that stores it, which is to be submitted at once."""
        new = {_identity(event) for event in fresh}
        for one in told:
            if _identity(one.event) in new:
                self._audit.reported(one.identity, one.deed, one.detail, write)

    def _told(self, stream: HostKey, event: event_pb2.Event) -> Told | None:
        host, when = stream.host, f"done at {rfc3339(event.time_ns + stream.clock_offset_ns)}"
        agent = self._agent(event.agent_id)
        name = event.enrol.name or (agent.name if agent is not None else "")
        whom = f"agent {name} ({event.agent_id})" if name else f"agent {event.agent_id}"
        if event.HasField("enrol"):
            enrol = event.enrol
            how = f"cgroup {enrol.cgroup_path}" if not enrol.root.pid else f"process {enrol.root.pid}"
            return Told(
                event, enrol.enrolled_by or f"{SENSOR} @{host}", Deed("enrol", f"{how} as {whom}", event.agent_id), when
            )
        if event.HasField("finish"):
            by = event.finish.requested_by
            return Told(event, by, Deed("finish", whom, event.agent_id), when) if by else None
        contain = event.contain
        if not contain.requested_by:  # what is in force, told again
            return None
        if contain.process.pid:
            whom = f"process {contain.process.pid} of {whom} with its descendants"
        known = response_pb2.Action.values()
        word = (
            response_pb2.Action.Name(contain.action).removeprefix("ACTION_").lower() if contain.action in known else ""
        )
        deed = Deed(
            word if word not in ("", "unspecified") else "contain",
            whom,
            event.agent_id,
            contain.reason,
            response_id=contain.response_id,
        )
        now = [name for name, on in (("frozen", contain.frozen), ("isolated", contain.isolated)) if on]
        by = f"{SENSOR} @{host}" if contain.requested_by == SENSOR else contain.requested_by
        so = "" if contain.process.pid else f"; now {' and '.join(now) or 'neither frozen nor isolated'}"
        return Told(event, by, deed, when + so)

    def _unknown(self, told: list[Told]) -> list[Told]:
        entities = self._store.entities
        found = []
        for one in told:
            if one.event.HasField("enrol"):
                known = entities.agent(one.deed.agent_id) is not None
            else:
                known = bool(one.deed.response_id) and entities.response(one.deed.response_id) is not None
            if not known:
                found.append(one)
        return found


def _identity(event: event_pb2.Event) -> tuple[int, int, int]:
    record = event.record
    return record.epoch, record.cpu, record.sequence
