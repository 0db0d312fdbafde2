"""Has carried out what policy wants, and keeps the audit of it: nobody is there to be told of an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from controlplane.audit.audit import Audit
from controlplane.audit.follow import Follower
from controlplane.audit.record import Deed
from controlplane.errors import PlaneError, SensorUnreachable
from controlplane.model import Agent, ResponseWanted
from controlplane.policy.rules import WORDS
from rubicon.v1 import response_pb2

_ATTEMPTS = 3


class Trees(Protocol):
    """The pipeline, as far as policy's responses are concerned."""

    def agent(self, agent_id: str) -> Agent | None:
        """The agent, while in memory."""

    def failed(self, wanted: ResponseWanted) -> None:
        """It did not succeed: the next alert that asks for it gets it."""


class Carrier:
    """One for the plane."""

    def __init__(
        self,
        obey: Callable[[ResponseWanted], Awaitable[response_pb2.Response]],
        back: Callable[[str], Awaitable[bool]],
        trees: Trees,
        audit: Audit,
        follower: Follower,
    ) -> None:
        """
        Args:
            obey: the responder's.
            back: waits a while for the sensor of a host; whether it is there.
        """
        self._obey = obey
        self._back = back
        self._trees = trees
        self._audit = audit
        self._follower = follower

    def alive(self, agent_id: str) -> bool:
        """The agent is in memory and has not ended."""
        agent = self._trees.agent(agent_id)
        return agent is not None and not agent.ended

    async def __call__(self, wanted: ResponseWanted) -> None:
        """Carry it out; a plane that has just restarted gives the sensor time to come back.

        Raises:
            PlaneError: as the responder's obey().
        """
        agent = self._trees.agent(wanted.agent_id)
        host = agent.boot.host if agent is not None and agent.boot is not None else ""
        await self._back(host)
        target = f"agent {agent.name} ({agent.id})" if agent is not None else f"agent {wanted.agent_id}"
        deed = Deed(WORDS[wanted.action], target, wanted.agent_id, wanted.reason, wanted.alert_id, wanted.id)
        place = self._audit.requested(wanted.by, deed)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = await self._obey(wanted)
            except PlaneError as error:
                # The sensor died at the wrong moment; its supervisor brings it back.
                if isinstance(error, SensorUnreachable) and attempt < _ATTEMPTS and await self._back(host):
                    continue
                self._trees.failed(wanted)
                self._audit.result(wanted.by, deed, place, error.reason, error.message)
                raise
            if response.state == response_pb2.RESPONSE_STATE_FAILED:
                self._trees.failed(wanted)
            self._follower.answered(wanted.by, deed, place, response)
            return
