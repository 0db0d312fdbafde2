"""What an agent may be called: one rule for the plane, which creates agents, and the sensor, which launches them."""

from __future__ import annotations

import re

from rubicon.v1 import ids

NAME_BYTES = 63
"""Longest name, as UTF-8."""
_PROCESS = re.compile(r"(?:pid:)?[0-9]+(?:@[0-9]+)?", re.ASCII)


def checked(name: str) -> str:
    """A name that is safe to show and to type, and that no command takes for something else.

    Raises:
        ValueError: it is not; the message says why and what to use.
    """
    if len(name.encode(errors="replace")) > NAME_BYTES or not name.isprintable() or name != name.strip() or "/" in name:
        raise ValueError(f"name {name!r}: use 1 to {NAME_BYTES} printable characters, no '/', no outer spaces")
    if not name or name.startswith("-"):
        raise ValueError(f"name {name!r}: begin with something else, an option begins like this")
    if _PROCESS.fullmatch(name):
        raise ValueError(f"name {name!r}: 'rubicon kill' would take it for a process: add a letter")
    if ids.AGENT_ID.fullmatch(name):
        raise ValueError(f"name {name!r}: 12 hex digits are an agent's id: add something else")
    return name
