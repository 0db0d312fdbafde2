"""Who asks for a response, and how."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.model import ProcessKey
from rubicon.v1 import response_pb2


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    by: str
    """Identity as attested, or policy's (ResponseWanted.by)."""
    reason: str
    force: bool = False
    """Also when the target holds the caller itself, or is protected."""
    caller: ProcessKey | None = None
    """Process that asked, on the target's host: never touched without force."""
    alert_id: str = ""
    response_id: str = ""
    """Empty for a fresh one."""
    ttl_ns: int = 0
    """Freeze and isolate: after which time it ends by itself; 0 for never."""
    isolation: response_pb2.Isolation | None = None
    """What an isolation lets through."""
    dry_run: bool = False
    """Only say whom it would touch."""
