"""Kills that left somebody (condemned, not yet dead): each is verified once its agent has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane import logs
from controlplane.errors import StoreUnavailable
from controlplane.model import Agent, is_followed
from controlplane.respond.ledger import Ledger
from controlplane.respond.ports import Trees
from controlplane.respond.target import is_detached
from controlplane.store import convert
from controlplane.store.entities import LIVING
from rubicon.v1 import response_pb2

_log = logs.get("respond")


class Followed:
    """For the event loop's thread."""

    def __init__(self, trees: Trees, ledger: Ledger, wall_clock: Callable[[], int]) -> None:
        self._trees = trees
        self._ledger = ledger
        self._now = wall_clock
        self._of: dict[str, list[response_pb2.Response]] = {}
        """By agent id."""

    def add(self, responses: Iterable[response_pb2.Response]) -> None:
        """Those of these that left somebody."""
        for response in responses:
            if is_followed(response):
                self._of.setdefault(response.agent_id, []).append(response)

    async def take_up(self, stored: Iterable[response_pb2.Response]) -> None:
        """After a restart: those of a plane before, which did not come to verify some whose agent had ended. Where the database
        takes no write that is left to the next start.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        for response in stored:
            agent = await self._ledger.agent(response.agent_id)
            if agent is None or agent.state in LIVING:
                self.add([response])
            elif not is_detached(agent):
                try:
                    await self._verify(response)
                except StoreUnavailable as error:
                    _log.warning("kill not verified yet", response=response.id, error=str(error))

    async def ended(self, agents: Iterable[Agent]) -> None:
        """Agents that changed: a kill that left somebody (a process in D state) is verified once the agent has ended; not when
        its watch did, and nobody knows of its processes any more.

        Raises:
            StoreUnavailable: it could not be stored.
        """
        for agent in agents:
            for response in self._of.pop(agent.id, ()) if agent.ended else ():
                if not agent.detached:
                    await self._verify(response)

    async def _verify(self, response: response_pb2.Response) -> None:
        now = self._now()
        response.state = response_pb2.RESPONSE_STATE_VERIFIED
        del response.survivors[:]
        response.error = ""
        response.steps.append("agent ended")
        response.elapsed_ns = now - convert.nanoseconds(response.requested_at)
        response.finished_at.CopyFrom(convert.stamp(now))
        await self._ledger.keep(response, self._trees.killed(response.agent_id, response.reason, now))
