"""What is asked of a target, whoever it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked, besides of whom."""

    action: str
    """kill, freeze, isolate or release."""
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    ttl: float | None = None
    """Seconds; None for no end."""
    isolation: dict[str, Any] = field(default_factory=dict)
    """allow, allow_loopback, unix, strict."""
