"""Who does work on request, known by the socket's name or by who listens there."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a connection alone tells."""

    ENGINE = auto()
    """Starts containers or machines: there is little else to ask it for."""
    TERMINAL = auto()
    """Holds shells, and types into them or starts new ones."""
    MANAGER = auto()
    """systemd itself: starts units, and is asked about them."""
    BUS = auto()
    """Carries anything, mostly harmless."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One that can be asked."""

    name: str
    kind: Kind
    techniques: tuple[str, ...]


def _engine(name: str) -> Broker:
    return Broker(name, Kind.ENGINE, ("T1610",))


def _terminal(name: str) -> Broker:
    return Broker(name, Kind.TERMINAL, ("T1559",))


SYSTEMD = Broker("systemd", Kind.MANAGER, ("T1543.002",))
BUS = Broker("D-Bus", Kind.BUS, ("T1559",))
_DOCKER, _CONTAINERD, _PODMAN, _LIBVIRT = (_engine(name) for name in ("docker", "containerd", "podman", "libvirt"))
_LXD, _INCUS, _CRIO, _TMUX, _SCREEN = (
    _engine("lxd"),
    _engine("incus"),
    _engine("cri-o"),
    _terminal("tmux"),
    _terminal("screen"),
)
_EMACS = _terminal("emacs")

_LISTENERS = {
    "tmux: server": _TMUX,
    "screen": _SCREEN,
    "dtach": _terminal("dtach"),
    "abduco": _terminal("abduco"),
    "zellij": _terminal("zellij"),
    "dockerd": _DOCKER,
    "containerd": _CONTAINERD,
    "crio": _CRIO,
    "podman": _PODMAN,
    "lxd": _LXD,
    "incusd": _INCUS,
    "libvirtd": _LIBVIRT,
    "virtqemud": _LIBVIRT,
    "virtlxcd": _LIBVIRT,
    "dbus-daemon": BUS,
    "dbus-broker-lau": BUS,  # names of processes have 15 bytes
}
_FILES = {
    "docker.sock": _DOCKER,
    "cri-dockerd.sock": _DOCKER,
    "dockershim.sock": _DOCKER,
    "containerd.sock": _CONTAINERD,
    "containerd.sock.ttrpc": _CONTAINERD,
    "buildkitd.sock": _engine("buildkit"),
    "crio.sock": _CRIO,
    "podman.sock": _PODMAN,
    "libvirt-sock": _LIBVIRT,
    "virtqemud-sock": _LIBVIRT,
    "virtlxcd-sock": _LIBVIRT,
    "system_bus_socket": BUS,
}
_PATHS = (
    (re.compile(r"/lxd(?:/common/lxd)?/unix\.socket$"), _LXD),
    (re.compile(r"/incus/unix\.socket$"), _INCUS),
    (re.compile(r"(?:^|/run|/run/user/\d+)/systemd/private$"), SYSTEMD),
    (re.compile(r"/run/user/\d+/bus$|^@?/tmp/dbus-[^/]*$"), BUS),
    (re.compile(r"/tmux-\d+/[^/]+$"), _TMUX),
    (re.compile(r"/S-[^/]+/\d+\.[^/]+$"), _SCREEN),
    (re.compile(r"/emacs\d*/[^/]+$"), _EMACS),
)


def place(path: str, cwd: str) -> str:
    """A socket's path without detours, as the agent's mount namespace has it; an abstract name as it is."""
    return path if path.startswith("@") else posixpath.normpath(posixpath.join(cwd or "/", path))


def broker(where: str, listener: str) -> Broker | None:
    """Who is asked at a place; None for one that is no broker we know.

    Args:
        where: as `place` gives it.
        listener: name of the process that listens there, or empty.
    """
    known = _LISTENERS.get(listener) or (_EMACS if listener.startswith("emacs") else None)
    known = known or _FILES.get(posixpath.basename(where))
    return known or next((found for pattern, found in _PATHS if pattern.search(where)), None)
