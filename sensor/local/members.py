"""members: an agent's living processes, as the kernel's tags say."""

from __future__ import annotations

from sensor.local.context import Context, Reply, Request, text
from sensor.local.peer import Peer


async def members(context: Context, peer: Peer, request: Request) -> Reply:
    """{target: agent id or name} → {agent_id, name, frozen, isolated, processes: [{pid, start_time, state, comm}]}."""
    name = text(request, "target")

    def look() -> Reply:
        agent = context.enroller.registry.find(name)
        return {
            "agent_id": agent.id,
            "name": agent.name,
            "frozen": agent.frozen,
            "isolated": agent.isolated,
            "processes": [
                {"pid": task.pid, "start_time": task.start_time, "state": task.state, "comm": task.comm}
                for task in context.enroller.kernel.tasks()
                if task.agent == agent.number and task.state not in "ZX"
            ],
        }

    return await context.thread(look)
