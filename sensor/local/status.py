"""status: how the sensor is."""

from __future__ import annotations

from sensor.local.context import Context, Reply, Request
from sensor.local.peer import Peer


async def status(context: Context, peer: Peer, request: Request) -> Reply:
    """{} → {host, boot_id, version, uplink, coverage, agents, spool, …}."""
    host = context.settings.host
    return {
        "host": host.name,
        "boot_id": host.boot_id,
        "agents": len(context.enroller.registry),
        **context.status(),
    }
