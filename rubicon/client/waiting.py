"""Waiting for an agent's end: what to ask, and what the answer means. The loops are those of resume.py."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from rubicon.client import requests
from rubicon.client.records.alert import Alert
from rubicon.client.records.ended import Ended
from rubicon.v1 import agent_pb2


class AgentWait:
    """A watch of one agent that brings nothing but its end."""

    endless = True

    def __init__(self, agent: str, timeout: float | None) -> None:
        """
        Args:
            timeout: seconds; None for ever.
        """
        self._agent = agent
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout

    def call(self) -> requests.Call[Alert | Ended | None]:
        """For the time that is left.

        Raises:
            TimeoutError: none is.
        """
        call = requests.watch_alerts(self._agent, "critical", False, False)
        if self._until is None:
            return call
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.expired()
        return dataclasses.replace(call, timeout=left)

    def expired(self) -> TimeoutError:
        """It has not ended in time."""
        return TimeoutError(f"agent {self._agent} has not ended within {self._timeout:g} s")

    def take(self, answer: Alert | Ended | None) -> Sequence[agent_pb2.Agent]:
        """The agent, once it has ended.

        Raises:
            AgentKilledError: a response ended it.
        """
        if not isinstance(answer, Ended):
            return ()
        self.endless = False
        answer.judge()
        return (answer.agent,)
