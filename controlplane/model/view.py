"""What a detector may see of an agent: reading only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from controlplane.model.flow import Flow
from controlplane.model.keys import ProcessKey
from controlplane.model.process import Process


class AgentView(Protocol):
    """An agent's process tree and flows as of the event that is being looked at.

    Everything returned is the plane's own object: never change it, and keep keys rather than objects.
    """

    @property
    def id(self) -> str:
        """Agent id."""

    @property
    def name(self) -> str:
        """Agent name."""

    @property
    def host(self) -> str:
        """Host it runs on."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels as the orchestrator gave them."""

    def process(self, key: ProcessKey) -> Process | None:
        """The process, ended ones too for a while; None when it is not the agent's or has left memory."""

    def ancestors(self, key: ProcessKey) -> Iterable[Process]:
        """Parent first, only inside the agent; the maker stands in for a parent outside of it."""

    def descendants(self, key: ProcessKey) -> Iterable[Process]:
        """All that it made, and they made, by start time; ended ones too while in memory. Without itself."""

    def flow(self, cookie: int) -> Flow | None:
        """The flow of a socket, closed ones too for a while."""

    def flows_of(self, key: ProcessKey) -> Iterable[Flow]:
        """Flows that the process owns, oldest first."""

    def coverage_missing(self) -> list[str]:
        """What this host does not see, in words, one fact an item."""
