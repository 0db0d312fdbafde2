"""A host's tree that takes events one by one."""

from __future__ import annotations

from controlplane.model import Changes
from controlplane.tree import AgentTree, HostTree, Limits
from rubicon.v1 import event_pb2
from tests.controlplane.builders import HOST


class Stand:
    """Feeds events; `last` is what the last one changed."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.host = HostTree(HOST.boot, limits or Limits())
        self.last = Changes()

    def take(self, *events: event_pb2.Event) -> AgentTree:
        """Returns the tree of the last event's agent."""
        for event in events:
            self.last = Changes()
            self.host.shared.now_ns = max(self.host.shared.now_ns, event.time_ns)
            tree = self.host.agent(event.agent_id, event.time_ns, HOST.clock_offset_ns, self.last)
            if tree is not None:
                tree.handlers[event.WhichOneof("kind") or ""](event, HOST.clock_offset_ns, self.last)
                if event.HasField("finish"):
                    self.host.ended(tree.id)
        return self.host.agents[events[-1].agent_id]
