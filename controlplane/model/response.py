"""What was done, or is to be done, to an agent or a process tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.model.keys import Boot, ProcessKey
from rubicon.v1 import response_pb2

POLICY = "policy"
"""Who asks where no caller does."""


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
    rule: str = ""
    """Name of the rule of the settings file that wants it; empty for the agent's own `on_alert`."""
    max_agents_per_minute: int = 0
    """Agents that the rule may stop within any minute; 0 for no limit."""

    @property
    def by(self) -> str:
        """Who asks, as responses and the audit name it."""
        return f"{POLICY} ({self.rule})" if self.rule else POLICY


def rule_of(requested_by: str) -> str:
    """The rule behind a response, by who asked for it; empty when none was."""
    return requested_by[len(POLICY) + 2 : -1] if requested_by.startswith(f"{POLICY} (") else ""


def is_followed(response: response_pb2.Response) -> bool:
    """A kill of a whole agent that left somebody: it is verified once the agent has ended."""
    return bool(
        response.action == response_pb2.ACTION_KILL
        and response.survivors
        and response.target.WhichOneof("kind") == "agent"
    )


class KnownAlert(NamedTuple):
    """What the store says of an alert, when its pipeline is given its memory back."""

    response_id: str
    """Empty when none was wanted."""
    failed: bool
    """That response failed, so the next alert may ask for another."""
    response: str = "none"
    """What the alert says was done about it."""
    action: int = response_pb2.ACTION_KILL
    """Of that response."""


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
