"""Who of an agent still lives, as this host's sensor counts them."""

from __future__ import annotations

import time
from typing import Any

from rubicon.client.errors import RubiconError
from rubicon.client.local import LocalSocket

KILLED_S = 5.0
"""Longest wait for somebody else's kill; it takes milliseconds, and the sensor reports what is left after three seconds."""


def survivors(agent_id: str) -> tuple[int, bool]:
    """Processes of the agent that still live, as the sensor counts them, and whether a kill of it is under way; (0, False)
    when the sensor does not answer."""
    try:
        listed: list[dict[str, Any]] = LocalSocket().call("agents", timeout=5)["agents"]
    except RubiconError:
        return 0, False
    found = next((agent for agent in listed if agent["id"] == agent_id), {})
    return int(found.get("processes", 0)), bool(found.get("condemned", False))


def pids(agent_id: str) -> frozenset[int]:
    """Pids of the agent's processes that still live; empty when the sensor does not answer."""
    try:
        found: list[dict[str, Any]] = LocalSocket().call("members", target=agent_id, timeout=5)["processes"]
    except RubiconError:
        return frozenset()
    return frozenset(int(each["pid"]) for each in found)


def killed(agent_id: str) -> int:
    """Wait for a kill that is under way: processes that are left, in D state say."""
    deadline = time.monotonic() + KILLED_S
    while True:
        alive, _ = survivors(agent_id)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
