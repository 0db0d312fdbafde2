"""What a program asks a broker for, by its name and its arguments: what is said on the socket itself is not seen."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from enum import IntEnum

from controlplane.model.process import Image


class Wish(IntEnum):
    """How much, in rising order."""

    LOOK = 0
    """Nothing is started or changed."""
    UNKNOWN = 1
    """Neither program nor arguments tell."""
    CHANGE = 2
    """What the manager does later is changed, or something is stopped."""
    START = 3
    """Something is started."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_START_METHOD = re.compile(r"StartTransientUnit|(?:Start|Restart|TryRestart|ReloadOrRestart)Unit|HostCommand\b")
_SYSTEMCTL_LOOKS = _set(
    "status show cat help list-units list-automounts list-paths list-sockets list-timers list-unit-files "
    "list-dependencies list-machines list-jobs is-active is-failed is-enabled is-system-running get-default "
    "show-environment whoami"
)
_SYSTEMCTL_CHANGES = _set(
    "daemon-reload daemon-reexec enable disable reenable preset preset-all mask unmask link revert add-wants "
    "add-requires edit set-default set-property set-environment unset-environment import-environment stop kill freeze "
    "thaw clean reset-failed cancel reload log-level log-target service-log-level service-log-target bind "
    "mount-image"
)
_SYSTEMCTL_WITH_VALUE = _set(
    "-t -p -P -H -M -n -o -s --type --state --property --host --machine --lines "
    "--output --signal --kill-whom --job-mode --root --image --what --when --value --check-inhibitors"
)
_BUSCTL_LOOKS = _set("list status monitor capture tree introspect get-property help")
_LOOKERS = _set(
    "loginctl hostnamectl timedatectl localectl systemd-analyze systemd-cgls systemd-cgtop systemd-inhibit "
    "systemd-notify journalctl networkctl resolvectl"
)
_BUS_CLIENTS = _set("busctl dbus-send gdbus qdbus")


def program(image: Image) -> str:
    """Short name of what a process runs: of its file, which the kernel names."""
    return posixpath.basename(image.exe or image.filename)


def words(image: Image) -> list[str]:
    """Arguments after the program's name."""
    return [word.decode("utf-8", "backslashreplace") for word in image.argv[1:]]


def wish(image: Image) -> Wish:
    """What a client of systemd or D-Bus wants."""
    name, arguments = program(image), words(image)
    if name in ("systemd-run", "run0"):
        return Wish.START
    if name == "systemctl":
        called = posixpath.basename(image.argv[0].decode("utf-8", "replace")) if image.argv else name
        # halt, poweroff, reboot, shutdown and the like are names of the same file
        return _systemctl(arguments) if called == "systemctl" else Wish.START
    if name in _BUS_CLIENTS:
        return _bus(name, arguments)
    if name == "machinectl":
        return Wish.START if {"shell", "start", "login", "clone"} & set(arguments) else Wish.LOOK
    if name == "flatpak-spawn":
        return Wish.START if "--host" in arguments else Wish.UNKNOWN
    return Wish.LOOK if name in _LOOKERS else Wish.UNKNOWN


def _systemctl(arguments: Sequence[str]) -> Wish:
    verb = next(_verbs(arguments), "list-units")
    if verb in _SYSTEMCTL_LOOKS:
        return Wish.LOOK
    return Wish.CHANGE if verb in _SYSTEMCTL_CHANGES and "--now" not in arguments else Wish.START


def _verbs(arguments: Sequence[str]) -> Iterator[str]:
    skip = False
    for word in arguments:
        if skip or word.startswith("-"):
            skip = not skip and word in _SYSTEMCTL_WITH_VALUE
        else:
            yield word


def _bus(name: str, arguments: Sequence[str]) -> Wish:
    if any(_START_METHOD.search(word) for word in arguments):
        return Wish.START
    if name == "busctl":
        verb = next((word for word in arguments if not word.startswith("-")), "list")
        return Wish.LOOK if verb in _BUSCTL_LOOKS else Wish.UNKNOWN
    return Wish.UNKNOWN
