"""What is in force stays in force: maps that nobody changes from user space, and links, pins and settings as they ought to be.

The kernel refuses what it can: a frozen map takes no update from user space, host root's neither, and a link to a tracepoint
cannot be detached while the sensor holds it. What it cannot refuse, because it has no right of its own for it, is put right at
the next look, and said: cgroup links that were detached, programs that were put in another's place, pins that are gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sensor.kernel import abi, bpf
from sensor.kernel.attach import Links
from sensor.kernel.errors import KernelError
from sensor.kernel.maps import Config
from sensor.kernel.objects import Loaded
from sensor.kernel.pins import Pins
from sensor.kernel.programs import When

SEALED = (
    "tags",
    "tag_filter",
    "tag_count",
    "agents",
    "cgroups",
    "strangers",
    "isolating",
    "sequences",
    "woken",
    "owners",
    "untagged",
    "untagged_count",
    "held_mptcp",
)
"""Maps that only programs change. The others the sensor writes itself, or has mapped (the ring)."""
WATCHES = 64
"""Links of agents' own cgroups that one look compares; the others have their turn at the next."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is not as the sensor has left it."""

    what: str
    """"link-detached", "link-replaced", "pin-removed", "settings-changed" or "foreign-program"."""
    name: str
    """Of the link or map; a program's id."""
    restored: bool
    """It is as it was."""


class Upkeep:
    """Any thread may call; looks take turns."""

    def __init__(self, pins: Pins, links: Links, loaded: Loaded, maps: dict[str, bpf.Map], config: Config) -> None:
        """Use `Kernel.upkeep`."""
        self._pins = pins
        self._links = links
        self._loaded = loaded
        self._maps = maps
        self._config = config
        self._lock = threading.Lock()
        self._programs = {bpf.program_info(fd).id for fd in loaded.programs.values()}
        """Ids of programs that are ours: loaded by this sensor, or adopted from an earlier one."""
        self._seen: set[int] = set()
        self._turn = 0

    def seal(self) -> dict[str, str]:
        """Freeze what only programs change; the kernel's reason for each map that it does not freeze."""
        refused = {}
        for name in SEALED:
            try:
                bpf.freeze(self._maps[name].fd)
            except OSError as error:
                refused[name] = str(error)
        return refused

    def ours(self) -> set[tuple[str, int]]:
        """(kind, id) of all that is ours in the kernel: "map", "prog" and "link"."""
        with self._lock, self._links.lock:
            found = {("map", each.id) for each in self._maps.values()}
            found |= {("prog", identity) for identity in self._programs}
            found |= {("link", bpf.link_info(fd).id) for fd in self._links.open.values()}
        return found

    def look(self) -> list[Found]:
        """Compare, and put right what can be; what was not as it ought to be."""
        with self._lock, self._links.lock:
            found = self._look_at_maps()
            for name in self._due():
                found += self._look_at_link(name)
            if self._config.written and self._config.read() != self._config.written:
                self._config.write(self._config.written)
                found.append(Found("settings-changed", "hook_config", restored=True))
            return found + self._foreign()

    def close(self) -> None:
        """Let go; what is pinned stays in force."""
        with self._lock, self._links.lock:
            for fd in self._links.open.values():
                os.close(fd)
            self._links.open.clear()

    def _due(self) -> list[str]:
        """All hooks of the host, and so many of the agents' own links."""
        wanted = {name: each for name, each in self._links.wanted.items() if name not in self._links.held}
        watches = sorted(name for name, each in wanted.items() if each.program.when is When.WATCHING)
        hooks = sorted(wanted.keys() - set(watches))
        for name in hooks:
            if name not in self._links.open:
                self._hold(name)
        first = self._turn if self._turn < len(watches) else 0
        self._turn = first + WATCHES
        return hooks + watches[first : first + WATCHES]

    def _look_at_maps(self) -> list[Found]:
        found = []
        for name, each in self._maps.items():
            with contextlib.suppress(OSError):
                if _is(self._pins.map(name), each.id, bpf.map_info):
                    continue
            found.append(Found("pin-removed", name, self._pin(each.fd, f"maps/{name}")))
        return found

    def _look_at_link(self, name: str) -> list[Found]:
        wanted = self._links.wanted[name]
        watch = wanted.program.when is When.WATCHING
        if watch and not Path(str(wanted.cgroup)).exists():
            return []  # the agent's own cgroup is gone, and its link with it
        held = self._links.open.get(name)
        fd = self._pins.link(name) if held is None else held
        if fd is None:
            return [Found("pin-removed", name, self._renew(name))]
        try:
            info = bpf.link_info(fd)
            if info.detached:
                return [Found("link-detached", name, self._renew(name))]
            if info.program not in self._programs:
                return [Found("link-replaced", name, self._renew(name))]
            if held is None or _is(self._pins.link(name), info.id, bpf.link_info):
                return []
            return [Found("pin-removed", name, self._pin(fd, f"links/{name}"))]
        finally:
            if held is None:
                os.close(fd)

    def _pin(self, fd: int, name: str) -> bool:
        path = self._pins.folder / name
        try:
            self._prepare()
            path.unlink(missing_ok=True)
            bpf.pin(fd, str(path))
        except (OSError, KernelError):
            return False
        return True

    def _prepare(self) -> None:
        """Make the folders where they are gone."""
        if not (self._pins.maps.is_dir() and self._pins.links.is_dir()):
            self._pins.prepare(abi.DIGEST)

    def _renew(self, name: str) -> bool:
        held = self._links.open.pop(name, None)
        if held is not None:
            os.close(held)
        try:
            self._prepare()
            self._links.renew(name)
        except (OSError, KernelError):
            return False
        self._hold(name)
        return True

    def _hold(self, name: str) -> None:
        """Keep a hook's link open, so that it stays when its pin goes; agents may be too many for that."""
        fd = self._pins.link(name)
        if fd is None:
            return
        self._programs.add(bpf.link_info(fd).program)
        if self._links.wanted[name].program.when is When.WATCHING:
            os.close(fd)
        else:
            self._links.open[name] = fd

    def _foreign(self) -> list[Found]:
        """Programs of others that use our maps: whoever loads one can change what is frozen for bpf(2)."""
        ids = set(bpf.program_ids())
        fresh, self._seen = ids - self._seen - self._programs, ids
        shared = self._loaded.shared
        found = []
        for identity in fresh:
            with contextlib.suppress(FileNotFoundError):
                fd = bpf.program_by_id(identity)
                try:
                    if bpf.program_info(fd).maps & shared:
                        found.append(Found("foreign-program", str(identity), restored=False))
                finally:
                    os.close(fd)
        return found


def _is(fd: int | None, identity: int, info: Callable[[int], bpf.MapInfo | bpf.LinkInfo]) -> bool:
    """What was pinned there is the thing of this id."""
    if fd is None:
        return False
    try:
        return info(fd).id == identity
    finally:
        os.close(fd)
