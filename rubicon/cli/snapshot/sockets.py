"""The sockets of a network namespace by inode, as /proc/PID/net shows them."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

STATES = (
    "", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed", "close-wait",
    "last-ack", "listen", "closing",
)  # fmt: skip
"""include/net/tcp_states.h, by number."""


class Sockets:
    """Read when it is first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[int, dict[str, Any]] | None = None

    def by_inode(self, inode: int) -> dict[str, Any]:
        """Protocol, addresses and state; empty for a family that /proc does not list, or another namespace's socket."""
        if self._found is None:
            self._found = {}
            for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
                for row in self._rows(protocol):
                    self._found[int(row[9])] = {
                        "protocol": protocol,
                        "local": _address(row[1]),
                        "remote": _address(row[2]),
                        "state": STATES[int(row[3], 16)] if protocol.startswith("tcp") else "",
                    }
            for row in self._rows("unix"):
                path = row[7] if len(row) > 7 else ""
                self._found[int(row[6])] = {"protocol": "unix", "path": path}
        return self._found.get(inode, {})

    def _rows(self, name: str) -> list[list[str]]:
        try:
            text = (self._folder / name).read_text(errors="backslashreplace")
        except OSError:
            return []  # this kernel has no such protocol
        return [line.split() for line in text.splitlines()[1:]]


def _address(text: str) -> str:
    """ADDRESS:PORT in hex; each word of the address is in this machine's byte order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    where = ipaddress.ip_address(packed)
    return f"[{where}]:{int(port, 16)}" if where.version == 6 else f"{where}:{int(port, 16)}"
