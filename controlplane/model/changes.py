"""What a batch changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.model.agent import Agent
from controlplane.model.alert import Alert
from controlplane.model.flow import Flow
from controlplane.model.keys import ProcessKey
from controlplane.model.process import Process
from controlplane.model.response import ResponseWanted
from controlplane.model.seen import Seen
from rubicon.v1 import event_pb2


@dataclass(slots=True, eq=False)
class Changes:
    """Everything that must become durable together with the batch, each entity once.

    Agents, processes, flows and `seen` are the pipeline's living objects: make rows or messages of them before the next
    apply(), on the same thread. Alerts too.
    """

    events: list[event_pb2.Event] = field(default_factory=list)
    """Those that were new, in order; duplicates are left out."""
    duplicates: int = 0
    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)
    """(epoch, CPU) → what was seen of it by now, for those that changed."""
    agents: dict[str, Agent] = field(default_factory=dict)
    processes: dict[ProcessKey, Process] = field(default_factory=dict)
    flows: dict[int, Flow] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    """New, or changed in any way."""
    responses: list[ResponseWanted] = field(default_factory=list)
    """To be carried out once this is durable."""
