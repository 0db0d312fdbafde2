"""agents: who lives on this host."""

from __future__ import annotations

from collections import Counter

from sensor.local.context import Context, Reply, Request
from sensor.local.peer import Peer


async def agents(context: Context, peer: Peer, request: Request) -> Reply:
    """{} → {agents: [{id, name, labels, cgroup_path, processes, started_at (Unix seconds)}]}."""

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
                    "started_at": agent.started_at,
                    "condemned": agent.condemned,
                }
                for agent in context.enroller.registry
            ]
        }

    return await context.thread(look)
