"""agents: who lives on this host."""

from __future__ import annotations

from collections import Counter

from sensor.act.registry import Living
from sensor.kernel.enums import AgentFlag
from sensor.local.context import Context, Reply, Request
from sensor.local.peer import Peer


async def agents(context: Context, peer: Peer, request: Request) -> Reply:
    """{} → {agents: [{id, name, labels, cgroup_path, processes, frozen, isolated, stopped [(pid, start time)], started_at (Unix
    seconds), condemned}]}."""

    def condemned(agent: Living) -> bool:
        """A kill is under way, or the kernel has begun one by itself (bpf/tag.bpf.h) and the sensor has yet to notice."""
        state = context.enroller.kernel.agents.get(agent.number)
        return agent.condemned or bool(state and state.flags & AgentFlag.CONDEMNED)

    def look() -> Reply:
        counts = Counter(task.agent for task in context.enroller.kernel.tasks())
        return {
            "agents": [
                {
                    "id": agent.id,
                    "name": agent.name,
                    "labels": agent.labels,
                    "cgroup_path": agent.cgroup_path,
                    "processes": counts[agent.number],
                    "frozen": agent.frozen,
                    "isolated": agent.isolated,
                    "stopped": agent.stopped,
                    "started_at": agent.started_at,
                    "condemned": condemned(agent),
                }
                for agent in context.enroller.registry
            ]
        }

    return await context.thread(look)
