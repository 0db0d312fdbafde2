"""What a batch changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    The entities are the pipeline's living objects: make rows or messages of them before the next apply(), on the same
    thread.
    """

    events: list[event_pb2.Event] = field(default_factory=list)
    """Those that were new, in order; duplicates are left out."""
    duplicates: int = 0
    prompt: bool = False
    """Somebody may be waiting for this to be durable: an agent began, ended or was contained, or a probe."""
    responses: list[ResponseWanted] = field(default_factory=list)
    """What policy wants done, once this is durable."""
    agent_of: dict[str, Agent] = field(default_factory=dict)
    process_of: dict[ProcessKey, Process] = field(default_factory=dict)
    flow_of: dict[int, Flow] = field(default_factory=dict)
    alert_of: dict[str, Alert] = field(default_factory=dict)
    seen_of: dict[tuple[int, int], Seen] = field(default_factory=dict)

    @property
    def agents(self) -> Iterable[Agent]:
        """New or changed."""
        return self.agent_of.values()

    @property
    def processes(self) -> Iterable[Process]:
        """New or changed."""
        return self.process_of.values()

    @property
    def flows(self) -> Iterable[Flow]:
        """New or changed."""
        return self.flow_of.values()

    @property
    def alerts(self) -> Iterable[Alert]:
        """New or changed."""
        return self.alert_of.values()

    @property
    def seen(self) -> Iterator[tuple[int, int, bytes]]:
        """(epoch, CPU, state) of record sequences that moved."""
        for (epoch, cpu), seen in self.seen_of.items():
            yield epoch, cpu, seen.encode()
