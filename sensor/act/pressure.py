"""An agent was condemned in the kernel because the tag hash was nearly full (bpf/tag.bpf.h): the event that tells it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rubicon.v1 import event_pb2
from sensor.act.processes import Task
from sensor.act.registry import Living
from sensor.kernel.loader import Kernel
from sensor.kernel.maps import AgentState


def told(kernel: Kernel, agent: Living, state: AgentState, members: Sequence[Task]) -> event_pb2.Event:
    """What the kernel counted when it condemned the agent, and what a look shows a moment later.

    Args:
        state: the kernel's, with the counts.
        members: the agent's processes that still live: those that forked since have been killed by it.
    """
    keys = {(task.pid, task.start_time) for task in members}
    parents = Counter((task.parent_pid, task.parent_start_time) for task in members)
    # whoever has forked most; where it has died of it already, the agent's root
    busiest, children = max(
        ((key, count) for key, count in parents.items() if key in keys),
        key=lambda entry: entry[1],
        default=((agent.root_pid, agent.root_start_time), 0),
    )
    event = event_pb2.Event(time_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), agent_id=agent.id)
    event.process.pid, event.process.start_time_ns = busiest
    event.tag_pressure.processes, event.tag_pressure.tags = state.marked_tasks, state.marked_tags
    config = kernel.config.read()
    event.tag_pressure.high_water, event.tag_pressure.limit = config.tag_high_water, config.tag_limit
    event.tag_pressure.capacity = kernel.tags.capacity
    event.tag_pressure.children = children
    event.tag_pressure.untagged = kernel.untagged.count
    return event
