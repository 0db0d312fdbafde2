"""attest: a short-lived token for the caller, which it shows to the plane with each call."""

from __future__ import annotations

import time

from rubicon.v1 import tokens
from sensor.local.context import Context, Reply, Request
from sensor.local.peer import Peer


async def attest(context: Context, peer: Peer, request: Request) -> Reply:
    """{} → {token, expires_at (Unix seconds), host, boot_id}."""
    host = context.settings.host
    token = tokens.issue(
        context.key,
        uid=peer.uid,
        pid=peer.pid,
        start_time=peer.start_time,
        host=host.name,
        boot_id=host.boot_id,
        audience="api",
    )
    expires_at = int(time.time() + tokens.TTL_S)
    return {"token": token, "expires_at": expires_at, "host": host.name, "boot_id": host.boot_id}
