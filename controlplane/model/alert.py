"""An alert: a finding with everything a reader needs to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.keys import Boot, RecordKey
from controlplane.model.process import Process


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that supports an alert, with its wall-clock time."""

    kind: str
    text: str
    wall_ns: int
    record: RecordKey | None
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlertFlow:
    """Peer addresses, in text: 'address:port', '[v6]:port'."""

    protocol: str
    source: str
    destination: str
    cookie: int


@dataclass(slots=True, eq=False)
class Alert:
    """One alert. Process and ancestors are copies as of the deciding event."""

    id: str
    """16 hex digits, a hash of host, boot, agent, detector and finding key: the same after a replay."""
    boot: Boot
    time_ns: int
    """Kernel time of the event that decided it (the last that raised its severity)."""
    wall_ns: int
    agent_id: str
    agent_name: str
    detector: str
    title: str
    severity: int
    techniques: tuple[str, ...]
    process: Process | None
    ancestors: list[Process] = field(default_factory=list)
    flow: AlertFlow | None = None
    evidence: list[Evidence] = field(default_factory=list)
    """Oldest first, bounded."""
    evidence_left_out: int = 0
    coverage: list[str] = field(default_factory=list)
    response: str = "none"
    response_id: str = ""
    repeats: int = 0
    last_wall_ns: int = 0
    """Of the newest event that found it again; 0 while none has."""
