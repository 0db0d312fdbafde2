"""What an isolated agent may still reach: from what a person writes to networks with their ports.

The kernel's trie answers with the most specific network alone, so whatever a wider network allows is added to the
narrower ones inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sensor.errors import InvalidArgument
from sensor.kernel.enums import Limit

Network = IPv4Network | IPv6Network
ENTRIES_MAX = 10_000
ANY: frozenset[int] = frozenset()


def parsed(entries: Iterable[str]) -> Mapping[Network, frozenset[int]]:
    """Networks, each with its ports; no ports mean any.

    Args:
        entries: "CIDR:PORT", "CIDR:*" or "CIDR"; IPv6 in brackets before a port: "[2001:db8::/32]:443".

    Raises:
        InvalidArgument: an entry that is none, host bits set, a network with too many ports, or too many entries.
    """
    entries = list(entries)
    if len(entries) > ENTRIES_MAX:
        raise InvalidArgument(f"{len(entries)} allowed destinations: give at most {ENTRIES_MAX}, or wider networks")
    wanted: dict[Network, frozenset[int]] = {}
    for entry in entries:
        network, port = _split(entry)
        before = wanted.get(network)
        if port is None or before == ANY:
            wanted[network] = ANY
        else:
            wanted[network] = (before or frozenset()) | {port}
    return {network: _with_wider(network, wanted) for network in wanted}


def reaches(allowed: Mapping[Network, frozenset[int]], address: str, port: int) -> bool:
    """Whether these networks hold an address and port; the kernel's trie asks the same of each packet."""
    host = ip_address(address)
    if host.version == 6 and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    within = [ports for network, ports in allowed.items() if host.version == network.version and host in network]
    return any(ports == ANY or port in ports for ports in within)


def _split(entry: str) -> tuple[Network, int | None]:
    text = entry.strip()
    if text.startswith("["):
        address, separator, port = text[1:].partition("]")
        if not separator or (port and not port.startswith(":")):
            raise InvalidArgument(f"allowed destination {entry!r}: use [CIDR]:PORT for IPv6")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
        if not port:
            raise InvalidArgument(f"allowed destination {entry!r}: a port is missing after ':'; use '*' for any")
    else:
        address, port = text, ""
    return _network(entry, address), _port(entry, port)


def _network(entry: str, address: str) -> Network:
    try:
        network = ip_network(address)
    except ValueError:
        try:
            meant = ip_network(address, strict=False)
        except ValueError:
            raise InvalidArgument(
                f"allowed destination {entry!r}: {address!r} is no network; use addresses, not names: 10.0.0.0/8:443"
            ) from None
        raise InvalidArgument(
            f"allowed destination {entry!r} has host bits set: write {meant}, or the address alone for one host"
        ) from None
    if network.version == 6 and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        return IPv4Network((int(network.network_address.ipv4_mapped), network.prefixlen - 96))
    return network


def _port(entry: str, port: str) -> int | None:
    if port in ("", "*"):
        return None
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidArgument(f"allowed destination {entry!r}: {port!r} is no port; use 1 to 65535, or '*' for any")
    return int(port)


def _with_wider(network: Network, wanted: Mapping[Network, frozenset[int]]) -> frozenset[int]:
    ports: set[int] = set()
    for prefix in range(network.prefixlen + 1):
        found = wanted.get(network.supernet(new_prefix=prefix))
        if found == ANY:
            return ANY
        ports.update(found or ())
    if len(ports) > Limit.ALLOW_PORTS:
        raise InvalidArgument(
            f"allowed destination {network}: {len(ports)} ports; give at most {int(Limit.ALLOW_PORTS)}, or '*' for any"
        )
    return frozenset(ports)
