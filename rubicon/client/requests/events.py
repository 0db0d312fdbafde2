"""Events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rubicon.client.records.ended import Ended
from rubicon.client.records.event import Event
from rubicon.client.records.moment import stamp
from rubicon.client.requests.call import Call, message
from rubicon.v1 import event_service_pb2


def stream_events(
    agent: str,
    kinds: Iterable[str],
    pid: int,
    since: datetime | None,
    until: datetime | None,
    cursor: str,
    follow: bool,
    show_secrets: bool,
) -> Call[list[Event] | Ended]:
    """Events in the order in which they were stored; Ended when the agent that is followed is over."""
    request = message(
        event_service_pb2.StreamEventsRequest,
        agent=agent,
        kinds=kinds,
        pid=pid,
        since=stamp(since),
        until=stamp(until),
        cursor=cursor,
        follow=follow,
        show_secrets=show_secrets,
    )

    def read(answer: event_service_pb2.StreamEventsResponse) -> list[Event] | Ended:
        return Ended(answer.ended) if answer.HasField("ended") else [*map(Event.of, answer.events)]

    return Call("EventService", "StreamEvents", request, read, timeout=None)
