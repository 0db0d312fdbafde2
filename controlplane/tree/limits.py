"""How much of what has ended stays in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are nanoseconds of the host's kernel clock, as events show it; counts are exact."""

    process_linger_ns: int = 30_000_000_000
    """An ended process stays this long: late records and detectors that look back find it."""
    ended_processes: int = 8_192
    """Ended processes of one host that stay at most, whatever their age: about 6 MB."""
    ended_bytes: int = 16 * 1024 * 1024
    """Bytes of arguments that ended processes of one host hold at most."""
    held_processes: int = 1_024
    """Ended processes of one agent that stay for their living descendants; beyond it the oldest is skipped over."""
    images: int = 8
    """Execs of one process that stay at most; the newest. A chain of execs longer than that is a loop."""
    tombstones: int = 16_384
    """Ended processes of one host that are remembered by key alone, so that a late record does not revive them."""
    flow_linger_ns: int = 30_000_000_000
    """A closed flow, or one whose close the kernel does not report (UDP), stays this long after its last record."""
    ended_flows: int = 8_192
    """Such flows of one host that stay at most: about 5 MB."""
    agent_flows: int = 4_096
    """Open flows of one agent that stay at most; beyond it those longest without a record leave."""
    flow_tombstones: int = 65_536
    """Flows of one host that are remembered by cookie alone after they left memory, so that none is counted twice."""
    agent_linger_ns: int = 30_000_000_000
    """An ended agent's tree stays this long: its last records may come after its finish."""
    ended_agents: int = 256
    """Ended agents of one host whose trees stay at most."""
    agent_tombstones: int = 65_536
    """Ended agents of one host that are remembered by id alone."""
    cgroup_paths: int = 4_096
    """cgroups of one host whose paths are remembered."""
