"""What was done, or is to be done, to an agent or a process tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.model.keys import Boot, ProcessKey
from rubicon.v1 import response_pb2


@dataclass(frozen=True, slots=True)
class ResponseWanted:
    """Policy's answer to an alert, to be carried out after its batch is durable."""

    id: str
    """Response id, 16 hex digits, a hash of the alert: the same after a replay."""
    action: int
    """An Action of response_pb2."""
    agent_id: str
    alert_id: str
    reason: str


class KnownAlert(NamedTuple):
    """What the store says of an alert, when its pipeline is given its memory back."""

    response_id: str
    """Empty when none was wanted."""
    failed: bool
    """That response failed, so the next alert may ask for another."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A process that is still there, and why."""

    boot: Boot
    key: ProcessKey
    comm: str
    why: str


@dataclass(slots=True, eq=False)
class Response:
    """One response and how far it is."""

    id: str
    action: int
    agent_id: str
    boot: Boot
    process: ProcessKey | None
    """The process whose tree is meant; None for the whole agent."""
    reason: str
    requested_by: str
    alert_id: str
    requested_wall_ns: int
    state: int = response_pb2.RESPONSE_STATE_REQUESTED
    finished_wall_ns: int | None = None
    killed: int = 0
    elapsed_ns: int = 0
    survivors: list[Survivor] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def finished(self) -> bool:
        """Verified or failed."""
        return self.state in (response_pb2.RESPONSE_STATE_VERIFIED, response_pb2.RESPONSE_STATE_FAILED)
