"""A connection or datagram socket of an agent."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum

from controlplane.model.keys import Boot, ProcessKey

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite", 262: "mptcp"}


class FlowState(IntEnum):
    """How far a flow is. Ordered: at the same kernel time the higher one wins."""

    CREATED = 1
    BOUND = 2
    LISTENING = 3
    CONNECTING = 4
    DATAGRAM = 5
    ESTABLISHED = 6
    DENIED = 7
    """A hook refused it (EPERM)."""
    REFUSED = 8
    """It never came to be: refused, unreachable or timed out."""
    CLOSED = 9
    RESET = 10


@dataclass(slots=True, eq=False)
class Flow:
    """One socket, by its cookie. Addresses are 4 or 16 bytes, empty when unknown; ports 0 when unknown."""

    boot: Boot
    cookie: int
    agent_id: str
    process: ProcessKey | None
    """Owner: who created or connected the socket last."""
    opened_wall_ns: int
    opened_ns: int
    family: int = 0
    type: int = 0
    protocol: int = 0
    source: bytes = b""
    source_port: int = 0
    destination: bytes = b""
    destination_port: int = 0
    direction: int = 0
    """FlowDirection: 1 the agent opened it, 2 a peer did, 0 not known."""
    netns_cookie: int = 0
    state: FlowState = FlowState.CREATED
    state_ns: int = 0
    """Kernel time of `state`."""
    last_ns: int = 0
    """Kernel time of its newest record."""
    closed_wall_ns: int | None = None
    closed_ns: int = 0
    bytes_sent: int = 0
    """Payload bytes that left the agent: as TCP counted them once it is closed, until then what packets showed."""
    bytes_received: int = 0
    owner_ns: int = 0
    """Kernel time at which `process` was the owner; likewise for the two addresses."""
    source_ns: int = 0
    destination_ns: int = 0
    lingers: bool = False
    """It waits to leave memory."""
    counted_ns: int = 0
    """Kernel time of the close record that the byte counts come from; 0 while they come from packets."""
    ssh_outbound: bytes = b""
    """SSH banner that the agent's side sent, or empty."""
    ssh_inbound: bytes = b""
    """SSH banner that the peer sent, or empty."""

    @property
    def closed(self) -> bool:
        """It has ended or never came to be."""
        return self.state >= FlowState.REFUSED

    @property
    def ssh(self) -> bool:
        """An SSH banner was seen on it, either way."""
        return bool(self.ssh_outbound or self.ssh_inbound)

    @property
    def protocol_name(self) -> str:
        """tcp, udp, …; the number when it has no common name."""
        return _PROTOCOLS.get(self.protocol, str(self.protocol))


def address_text(address: bytes, port: int) -> str:
    """'address:port', '[v6]:port'; a mapped IPv4 address as IPv4; empty when the address is unknown."""
    if len(address) not in (4, 16):
        return ""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return f"[{parsed}]:{port}"
        parsed = parsed.ipv4_mapped
    return f"{parsed}:{port}"
