"""Holds the world's network and mount namespaces, and ends all that lives in them when its input ends.

    keeper.py DIR

Its input is a pipe from the test, which the kernel closes however the test ends, SIGKILL included. A line on it,
`PID INSTANCE`, names a sensor that must not outlive the test either; an empty line says that it is gone. DIR is
removed at the end. `ready` on its output says that the namespaces stand.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
REPOSITORY = Path(__file__).parents[3]


def enter(folder: Path) -> None:
    """New namespaces: a loopback of its own, no configuration of this machine's root user, a /run for sshd."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    passwd = folder / "passwd"
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    passwd.write_text("\n".join((f"root:x:0:0:root:{folder}/home:/bin/sh", *lines)) + "\n")
    (folder / "home").mkdir(mode=0o700)
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run"],
        ["mkdir", "/run/sshd"],
        ["mount", "--bind", str(passwd), "/etc/passwd"],
        ["ip", "link", "set", "lo", "up"],
    ):
        subprocess.run(command, check=True)


def inside() -> list[int]:
    """Descriptors of the processes in this network namespace, without this one."""
    mine = os.readlink("/proc/self/ns/net")
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        # the descriptor first: whoever is looked at then is who it stands for
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(int(folder.name))
            try:
                lives_here = os.readlink(folder / "ns/net") == mine
            except OSError:
                lives_here = False
            if lives_here:
                found.append(descriptor)
            else:
                os.close(descriptor)
    return found


def end_all() -> None:
    """Kills until nobody is left."""
    while found := inside():
        for descriptor in found:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        time.sleep(0.005)


def end_sensor(descriptor: int, instance: str) -> None:
    """What the test would have done for its sensor."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    code = "import sys; from rubicon.v1.instance import Instance; from tests.turns import remove_instance"
    subprocess.run(
        [sys.executable, "-c", f"{code}; remove_instance(Instance(sys.argv[1]))", instance],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )


def main() -> None:
    """Holds until the input ends."""
    folder = Path(sys.argv[1])
    sensor: tuple[int, str] | None = None
    original = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(folder)
        print("ready", flush=True)
        for line in sys.stdin:
            pid, _, instance = line.strip().partition(" ")
            sensor = (os.pidfd_open(int(pid)), instance) if pid else None
    finally:
        end_all()
        ctypes.CDLL(None).setns(original, _CLONE_NEWNS)
        if sensor is not None:
            end_sensor(*sensor)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
