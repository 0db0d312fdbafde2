"""When a stream about one agent is over: the agent has ended, and why is known."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from controlplane.api.hub import ENDED, Watch
from controlplane.model import is_followed
from controlplane.store import convert
from controlplane.store.store import Store
from rubicon.v1 import agent_pb2, response_pb2

SETTLED = 5.0
"""Seconds after which a killed agent counts as over, though its last records have not come: its sensor may be gone."""
_OPEN = (response_pb2.RESPONSE_STATE_REQUESTED, response_pb2.RESPONSE_STATE_APPLIED)


class Ending:
    """Of one agent; ask again whenever it, or a response to it, has changed."""

    def __init__(self, store: Store, agent_id: str, linger: float) -> None:
        """
        Args:
            linger: seconds for which records may come after the end: the agent's connections are still closing.
        """
        self._store = store
        self._agent_id = agent_id
        self._linger = linger
        self._undecided_since: float | None = None

    async def over(self) -> tuple[agent_pb2.Agent | None, float | None]:
        """The agent, once it is over; until then, and where only time is missing, the seconds to wait.

        A kill in the store that is not verified yet comes first: it will say why.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        agent, undecided = await asyncio.to_thread(self._look)
        if agent is None or agent.state not in ENDED:
            return None, None
        rest = self._linger
        if undecided or (agent.processes and agent.state == agent_pb2.AGENT_STATE_KILLED):
            rest = max(rest, SETTLED)
        # clocks of hosts differ: an end in the future counts as one of now
        left = rest - max(0.0, (time.time_ns() - convert.nanoseconds(agent.ended_at)) / 1e9)
        if undecided:  # what decides it is under way now, however long ago the end was
            self._undecided_since = self._undecided_since or time.monotonic()
            left = SETTLED - (time.monotonic() - self._undecided_since)
        return (None, left) if left > 0 else (agent, None)

    async def behind(self, watch: Watch[Any]) -> agent_pb2.Agent | None:
        """The agent, once it is over and nothing waits for the watcher any more, who comes round again by himself otherwise."""
        agent, pause = await self.over()
        if agent is not None and watch.waiting:  # it came while the agent was looked at
            watch.touch()
            return None
        if pause is not None:
            asyncio.get_running_loop().call_later(pause, watch.touch)
        return agent

    def _look(self) -> tuple[agent_pb2.Agent | None, bool]:
        """The agent, and whether a kill of it is not decided yet.

        It is read again after its responses: one that is decided by then is in it.
        """
        agent = self._store.entities.agent(self._agent_id)
        if agent is None or agent.state != agent_pb2.AGENT_STATE_KILLED:
            return agent, False
        responses = self._store.entities.responses(agent_id=self._agent_id)
        undecided = any(
            (each.action == response_pb2.ACTION_KILL and each.state in _OPEN)
            or (each.state == response_pb2.RESPONSE_STATE_FAILED and is_followed(each))
            for each in responses
        )
        return self._store.entities.agent(self._agent_id), undecided
