"""The gRPC server on its Unix socket: limits, keepalive, who may reach it, and that there is one."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
from collections.abc import Iterator
from pathlib import Path

import grpc

from controlplane.api.guard import Guard
from controlplane.settings import WireSettings

GROUP = "rubicon"
"""Members may use the sockets."""


def new_server(guard: Guard, wire: WireSettings) -> grpc.aio.Server:
    """A server that listens nowhere yet."""
    return grpc.aio.server(
        interceptors=[guard],
        options=[
            ("grpc.max_receive_message_length", wire.message_bytes),
            ("grpc.max_send_message_length", wire.message_bytes),
            ("grpc.keepalive_time_ms", int(wire.keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", int(wire.keepalive * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.so_reuseport", 0),
            # no ping at each message that comes: the path is a local socket, and the window that a ping would find is given
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", 4 << 20),
        ],
    )


def listen(server: grpc.aio.Server, socket: Path) -> None:
    """Take the socket's path, for root and the group.

    Raises:
        OSError: the socket cannot be made.
    """
    socket.unlink(missing_ok=True)
    before = os.umask(0o117)
    try:
        if not server.add_insecure_port(f"unix:{socket}"):
            raise OSError(f"cannot listen on {socket}")
    finally:
        os.umask(before)
    give_to_group(socket)


def give_to_group(path: Path) -> None:
    """Let members of the group in; without the group only root may."""
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock that one plane of an instance has.

    Raises:
        BlockingIOError: another has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
