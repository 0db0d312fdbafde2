"""The sensor's place on its host: folders, the lock that keeps it the only one, and word to systemd."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
from collections.abc import Iterator

from rubicon.v1.instance import Instance
from sensor.errors import AnotherSensor, StartFailed

GROUP = "rubicon"


def group() -> int:
    """The id of group `rubicon`, or root's where `rubicon up` has not made it: then only root may call."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return 0


@contextlib.contextmanager
def only_one(instance: Instance) -> Iterator[None]:
    """The instance's folders, and its lock while the block runs.

    Raises:
        StartFailed: not root.
        AnotherSensor: one runs.
    """
    if os.geteuid():
        raise StartFailed("the sensor needs root: it loads programs into the kernel (try sudo)")
    members = group()
    instance.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(instance.run_dir, 0, members)
    instance.run_dir.chmod(0o750 if members else 0o700)
    instance.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = instance.state_dir / "sensor.lock"
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read(16).decode(errors="replace").strip() or "not known"
            raise AnotherSensor(
                f"a sensor of instance {instance.name!r} runs already (pid {holder}): "
                "stop it first, or set RUBICON_INSTANCE for a second one"
            ) from None
        lock.truncate(0)
        lock.write(b"%d\n" % os.getpid())
        lock.flush()
        yield


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        contextlib.suppress(OSError),
    ):
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
