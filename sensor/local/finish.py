"""finish: end the watch of an agent."""

from __future__ import annotations

from sensor.local.context import Context, Reply, Request, flag, text
from sensor.local.peer import Peer


async def finish(context: Context, peer: Peer, request: Request) -> Reply:
    """{agent: id or name, detach?} → {agent_id, name}."""
    name, detach = text(request, "agent"), flag(request, "detach")
    by = f"{peer.identity} @{context.settings.host.name}"
    agent = await context.thread(lambda: context.watch.finish(name, detach=detach, requested_by=by))
    return {"agent_id": agent.id, "name": agent.name}
