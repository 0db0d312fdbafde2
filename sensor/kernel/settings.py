"""Settings of the kernel side; each field says its unit and its default's reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Sizes and budgets. Sizes hold when the maps are made; adopted maps keep theirs until `rubicon down`."""

    ring_bytes: int = 4 * 1024 * 1024
    """Bytes of the ring, a power of two. Its pages are mapped twice, so touched memory counts double: not above 4 MB."""
    wakeup_bytes: int = 256 * 1024
    """Fill at which the reader is woken in any case; below, for the first record and the first that does not wait."""
    tag_memory_bytes: int = 16 * 1024 * 1024
    """Most memory that the tag hash may take, at about 96 bytes an entry; it has pid_max entries where those fit."""
    tag_high_water: float = 0.875
    """Share of the tag hash at which the agent that forks is condemned, while entries remain for the children in flight;
    from 0.1 to 0.99. Children beyond those are known by pid alone, up to 4 096."""
    process_rate: int = 20_000
    """Fork, exec, exit and join records a second and agent; a fork bomb makes 27 000."""
    flow_rate: int = 20_000
    """Bind, listen, connect, establish and close records a second and agent."""
    payload_rate: int = 20_000
    """Payload records a second and agent: a few for each flow."""
    bulk_rate: int = 10_000
    """Socket, send and packet records a second and agent: what may be dropped first."""
    burst_s: float = 1.0
    """Seconds' worth of records that may come at once."""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: (field, why): a value that would switch something off, or that no map can have.
        """
        if not 0.1 <= self.tag_high_water <= 0.99:
            # at 1 no entry would be left for the children in flight, and a mark of 0 entries is none
            raise ValueError("tag_high_water", "give a share from 0.1 to 0.99")
        if self.ring_bytes < 4096 or self.ring_bytes & (self.ring_bytes - 1):
            raise ValueError("ring_bytes", "give a power of two from 4096")
