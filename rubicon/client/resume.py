"""Streams that outlive a restart of the plane: what to ask again, and which answers were given already.

The loops are in sync.py and aio.py; here is only what they have in common.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from rubicon.client import requests
from rubicon.client.errors import Overloaded, RubiconError, RubiconUnreachable
from rubicon.client.records.alert import Alert
from rubicon.client.records.ended import Ended
from rubicon.client.records.event import Event
from rubicon.client.records.response import Response

T = TypeVar("T", covariant=True)
Seen = TypeVar("Seen")
_REMEMBERED = 10_000
"""Alerts, or responses, whose last state is remembered: as many as a watch begins with at most."""


class Resumable(Protocol, Generic[T]):
    """A stream that can be asked again."""

    endless: bool
    """Its end is a lost connection, not the end of what there is; False from when its agent is over."""

    def call(self) -> requests.Call[Any]:
        """What to ask now."""
        ...

    def take(self, answer: Any) -> Sequence[T]:
        """What is new in an answer."""
        ...


def over(stream: Resumable[Any], answer: Ended | None) -> tuple[()]:
    """An answer that brings nothing: the stream stands (None), or its one agent is over.

    Raises:
        AgentKilledError: it was killed.
    """
    if answer is not None:
        stream.endless = False
        answer.judge()
    return ()


class AlertWatch:
    """Alerts as they happen, again whenever one has changed; after a reconnection those that were missed."""

    def __init__(self, agent: str, min_severity: str, detector: str, existing: bool, show_secrets: bool) -> None:
        self.endless = True
        self._agent = agent
        self._min_severity = min_severity
        self._detector = detector
        self._existing = existing
        self._show_secrets = show_secrets
        self._seen: OrderedDict[str, Alert] = OrderedDict()
        self._began_ns = 0 if existing else time.time_ns()
        self._again = False

    def call(self) -> requests.Call[Alert | Ended | None]:
        """After the first time, what exists is asked for as well."""
        existing = self._existing or self._again
        self._again = True
        return requests.watch_alerts(self._agent, self._min_severity, existing, self._show_secrets)

    def take(self, answer: Alert | Ended | None) -> Sequence[Alert]:
        """The alert, unless it was given in this very state or is older than the watch.

        Raises:
            AgentKilledError: the one agent that is watched was killed.
        """
        if answer is None or isinstance(answer, Ended):
            return over(self, answer)
        if self._detector and answer.detector != self._detector:
            return ()
        known = self._seen.get(answer.id)
        if known == answer or (known is None and self._began_ns and answer.time_ns < self._began_ns - 1_000_000_000):
            return ()
        remember(self._seen, answer.id, answer)
        return (answer,)


class ResponseWatch:
    """Responses, whenever one has changed; after a reconnection what was missed."""

    def __init__(self, agent: str, response_id: str, existing: bool) -> None:
        self.endless = True
        self._agent = agent
        self._id = response_id
        self._existing = existing
        self._seen: OrderedDict[str, Response] = OrderedDict()
        self._began_ns = 0 if existing else time.time_ns()
        self._again = False

    def call(self) -> requests.Call[tuple[Response, bool] | Ended | None]:
        """After the first time, what exists is asked for as well."""
        existing = self._existing or self._again
        self._again = True
        return requests.watch_responses(self._agent, self._id, existing)

    def take(self, answer: tuple[Response, bool] | Ended | None) -> Sequence[Response]:
        """The response, unless it was over before the watch began, or was given in this state or a later one: a plane that was
        restarted knows nothing of "applied".

        Raises:
            AgentKilledError: the one agent that is watched was killed.
        """
        if answer is None or isinstance(answer, Ended):
            return over(self, answer)
        response, last = answer
        if last:
            self.endless = False
        known = self._seen.get(response.id)
        if known is None and 0 < response.finished_at_ns < self._began_ns and not self._id:
            return ()
        if known is not None and (known == response or _stage(response) < _stage(known)):
            return ()
        remember(self._seen, response.id, response)
        return (response,)


def _stage(response: Response) -> int:
    """How far it is: failed is as far as verified, which may follow it."""
    return {"requested": 0, "applied": 1}.get(response.state, 2)


def remember(seen: OrderedDict[str, Seen], key: str, value: Seen) -> None:
    """The last state of what was given; the oldest is forgotten."""
    seen[key] = value
    seen.move_to_end(key)
    if len(seen) > _REMEMBERED:
        seen.popitem(last=False)


class EventStream:
    """Events by cursor."""

    def __init__(
        self,
        agent: str,
        kinds: Sequence[str],
        pid: int,
        since: datetime | None,
        until: datetime | None,
        cursor: str,
        follow: bool,
        show_secrets: bool,
    ) -> None:
        self._arguments = (agent, tuple(kinds), pid, since, until)
        self._cursor = cursor
        self._show_secrets = show_secrets
        self.endless = follow

    def call(self) -> requests.Call[list[Event] | Ended]:
        """From the last event on."""
        return requests.stream_events(*self._arguments, self._cursor, self.endless, self._show_secrets)

    def take(self, answer: list[Event] | Ended) -> Sequence[Event]:
        """All of them.

        Raises:
            AgentKilledError: the one agent that is followed was killed.
        """
        if isinstance(answer, Ended):
            return over(self, answer)
        if answer:
            self._cursor = answer[-1].cursor
        return answer


class Patience:
    """How long a broken stream is tried again."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._pause = 0.1
        self._since: float | None = None
        self._stood = False

    def stands(self) -> None:
        """An answer came."""
        self._stood, self._since, self._pause = True, None, 0.1

    def pause(self, error: RubiconError) -> float:
        """Seconds to wait before the next try.

        Raises:
            RubiconError: `error` itself, when the stream never stood, trying again is no use, or it took too long.
        """
        now = time.monotonic()
        self._since = self._since or now
        hopeless = not isinstance(error, RubiconUnreachable | Overloaded)
        if hopeless or not self._stood or now - self._since > self._give_up_s:
            raise error
        pause, self._pause = self._pause, min(self._pause * 2, 2.0)
        return pause
