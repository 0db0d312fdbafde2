"""Identities that sensor, plane and client spell alike."""

from __future__ import annotations

import re
import secrets

AGENT_ID = re.compile(r"[0-9a-f]{12}")
SENSOR_CPU = 0xFFFFFFFF
"""CPU number in the record id of events that the sensor itself made."""


def new_agent_id() -> str:
    """A fresh agent id: 48 random bits (never zero) as 12 lowercase hex digits."""
    return f"{secrets.randbelow(2**48 - 1) + 1:012x}"


def agent_number(agent_id: str) -> int:
    """The number that the kernel's maps carry for an agent id.

    Raises:
        ValueError: not 12 lowercase hex digits, or zero.
    """
    if not AGENT_ID.fullmatch(agent_id) or not int(agent_id, 16):
        raise ValueError(f"agent id {agent_id!r} is not 12 lowercase hex digits")
    return int(agent_id, 16)


def agent_id(number: int) -> str:
    """The agent id for the kernel's number; empty for 0 (no agent)."""
    return f"{number:012x}" if number else ""


def new_id() -> str:
    """A fresh id of a response: 64 random bits as 16 lowercase hex digits."""
    return secrets.token_hex(8)
