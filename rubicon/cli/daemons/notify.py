"""sd_notify(3): tell systemd, where it asked to be told."""

from __future__ import annotations

import contextlib
import os
import socket


def wanted() -> bool:
    """Whether somebody asked."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str) -> None:
    """Tell a state, READY=1 or STOPPING=1; nothing happens where nobody asked or nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        contextlib.suppress(OSError),
    ):
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
