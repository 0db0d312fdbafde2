"""The door to the kernel: what is loaded, attached and pinned for one instance, and the maps and iterators to talk to it.

Opening loads every object anew, which also asks the kernel what it can, and adopts each pinned link that runs the same
program on the same maps; one that runs another is replaced without a gap. There is never a second set.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from pathlib import Path

from rubicon.v1.instance import Instance
from sensor.kernel import abi, bpf, host
from sensor.kernel.attach import Links
from sensor.kernel.coverage import Fact, facts_of, with_skipped
from sensor.kernel.enums import Limit
from sensor.kernel.errors import KernelAbiMismatch, KernelError, NothingLoads
from sensor.kernel.maps import Agents, AgentState, Allows, Cgroups, Config, Control, Losses, Tag, Tags, Untagged, opened
from sensor.kernel.objects import Loaded, Loader
from sensor.kernel.pins import Pins
from sensor.kernel.programs import OBJECTS, AttachType, How, Object, Program, When
from sensor.kernel.ring import Ring
from sensor.kernel.settings import KernelSettings
from sensor.kernel.sockets import SocketEntry, listed
from sensor.kernel.tasks import Task, Tasks
from sensor.kernel.upkeep import Upkeep

__all__ = ["AgentState", "Fact", "Kernel", "KernelAbiMismatch", "KernelError", "KernelSettings", "Tag", "Task"]

_TAG_ENTRY_BYTES = 96
_WATCH = "watch-"


class Kernel:
    """One instance's kernel side, open. Thread-safe as far as bpf(2) is: each call is one or a few system calls."""

    def __init__(self, pins: Pins, links: Links, loaded: Loaded, maps: dict[str, bpf.Map]) -> None:
        """Use `Kernel.open`."""
        self._pins = pins
        self._links = links
        self._loaded = loaded
        self._maps = maps
        self._tasks = Tasks(loaded.programs["tasks"])
        control = Control(loaded.programs["control"])
        self.tags = Tags(maps["tags"], control)
        self.untagged = Untagged(maps["untagged"], maps["untagged_count"])
        self.agents = Agents(maps["agents"], control)
        self.cgroups = Cgroups(maps["cgroups"], control)
        self.allows = Allows(maps["allows"], control)
        self.losses = Losses(maps["losses"], maps["agents"])
        self.config = Config(maps["hook_config"])
        self.upkeep = Upkeep(pins, links, loaded, maps, self.config)
        self.ring = Ring(os.dup(maps["ring"].fd), maps["ring"].max_entries)
        self.epoch = 0
        """When the maps were made: CLOCK_BOOTTIME nanoseconds."""
        self.adopted = False
        """Links of an earlier sensor were found in force."""
        self.coverage: list[Fact] = []
        """What each hook came to, in the table's order."""

    @classmethod
    def open(cls, instance: Instance, settings: KernelSettings) -> Kernel:
        """Load and attach what is not in force yet.

        Raises:
            KernelError: this host, as it is set up, cannot; the subclasses of sensor.kernel.errors say why.
        """
        host.check()
        root = host.cgroup_root()
        pins = Pins(host.ensure_bpffs(instance) / instance.name)
        with pins.locked():
            pins.prepare(abi.DIGEST)
            return cls._opened(pins, Links(pins, root), settings)

    @classmethod
    def _opened(cls, pins: Pins, links: Links, settings: KernelSettings) -> Kernel:
        loader = Loader(pins, {"ring": settings.ring_bytes, "tags": _tag_entries(settings)})
        with contextlib.ExitStack() as undo:
            undo.callback(links.close)
            undo.callback(loader.loaded.close)
            _load(loader)
            maps = opened(loader.loaded.maps)
            for each in maps.values():
                undo.callback(each.close)
            kernel = cls(pins, links, loader.loaded, maps)
            undo.callback(kernel.ring.close)
            kernel._configure(settings)
            kernel._attach()
            undo.pop_all()
        return kernel

    def tasks(self) -> list[Task]:
        """Every thread group of the host, by pid."""
        return self._tasks.all()

    def task(self, pid: int) -> Task | None:
        """One thread group; None when there is none of this pid."""
        return self._tasks.get(pid)

    def watch_cgroup(self, cgroup: int | str | Path, agent: int) -> None:
        """Put the per-packet programs on an agent's own cgroup (a descriptor or path); they stay until `unwatch_cgroup`.

        Where this kernel refused those programs nothing happens: coverage says so.

        Raises:
            OSError: no such cgroup.
        """
        for program, fd in self._programs(When.WATCHING):
            self._links.watch(program, fd, f"{_WATCH}{agent:012x}-{program.name}", cgroup)

    def unwatch_cgroup(self, agent: int) -> None:
        """Take the per-packet programs off an agent's cgroup."""
        for entry in OBJECTS:
            for program in entry.programs:
                if program.when is When.WATCHING:
                    self._links.drop(f"{_WATCH}{agent:012x}-{program.name}")

    def follow_leavers(self, on: bool) -> None:
        """Have the per-packet programs on the hierarchy's root, or not; a call that changes nothing does nothing."""
        self._switch(When.LEAVERS, on)

    @property
    def leavers_followed(self) -> bool:
        """They are there now, by this sensor or an earlier one."""
        return self._attached(When.LEAVERS)

    @property
    def is_isolating(self) -> bool:
        """The programs of `isolating` are there now, by this sensor or an earlier one."""
        return self._attached(When.ISOLATING)

    def isolating(self, on: bool) -> None:
        """Have what an isolated agent sends through a socket that was handed over to it dropped, and its joining of groups
        refused, or not."""
        self._switch(When.ISOLATING, on)

    def condemning(self, on: bool) -> None:
        """Have whatever belongs to a condemned agent killed at its next clone or fork, or not."""
        self._switch(When.CONDEMNING, on)

    def tag_sockets(self, agent: int) -> int:
        """Give the sockets that tagged processes hold already an owner; how many got one.

        All agents' processes are looked at in one run: `agent` only says on whose behalf. 0 where this kernel refuses it.
        """
        program = self._loaded.programs.get("tag_sockets")
        return len(bpf.iterate(program, AttachType.TRACE_ITER)) // 8 if program else 0

    def sockets(self) -> list[SocketEntry]:
        """Every socket that a tagged process holds, a row for each descriptor; empty where this kernel refuses it."""
        program = self._loaded.programs.get("list_sockets")
        return listed(program) if program else []

    @property
    def destroys_sockets(self) -> bool:
        """This kernel has a way to (6.5)."""
        return "destroy" in self._loaded.objects

    @property
    def refuses_unix(self) -> bool:
        """This kernel has hooks for Unix sockets (6.7)."""
        return {"unix_connect", "unix_send"} <= self._loaded.objects.keys()

    def destroy_sockets(self) -> int:
        """Destroy each TCP and UDP socket, of the calling thread's network namespace, that an isolated agent may not have;
        how many."""
        programs = [self._loaded.programs[name] for name in ("destroy_tcp", "destroy_udp")]
        return sum(len(bpf.iterate(program, AttachType.TRACE_ITER)) // 8 for program in programs)

    def missed(self) -> dict[str, int]:
        """How often each attached program was not run, by name: the kernel skips one that is running on that CPU already, as
        when a packet's interrupt comes in the middle of a hook. Such a record is in no other count. Programs that never
        were are left out; the count begins with the link. Those on agents' cgroups are never skipped."""
        found: dict[str, int] = {}
        for name in self._pins.link_names():
            if name.startswith(_WATCH):
                continue
            fd = self._pins.link(name)
            if fd is None:
                continue
            try:
                running = bpf.program_by_id(bpf.link_info(fd).program)
            finally:
                os.close(fd)
            try:
                missed = bpf.program_info(running).missed
            finally:
                os.close(running)
            if missed:
                found[name] = missed
        return found

    def facts(self) -> list[Fact]:
        """`coverage`, with what the kernel has skipped until now."""
        missed = self.missed()
        skipped: Counter[str] = Counter()
        for entry in OBJECTS:
            count = sum(missed.get(program.pin, 0) for program in entry.programs)
            skipped.update(dict.fromkeys(entry.named, count))
        return with_skipped(self.coverage, skipped)

    def close(self) -> None:
        """Let go; what is pinned stays in force."""
        self.upkeep.close()
        self.ring.close()
        for each in self._maps.values():
            each.close()
        self._links.close()
        self._loaded.close()

    @classmethod
    def unload(cls, instance: Instance) -> None:
        """Detach and unpin everything of an instance, and unmount what it mounted. Nothing happens where nothing is.

        Raises:
            OSError: the pins cannot be removed (not root).
        """
        found = host.bpffs()
        if found:
            Pins(found / instance.name).remove()
        host.release_bpffs(instance)

    def _programs(self, when: When) -> list[tuple[Program, int]]:
        return [
            (program, self._loaded.programs[program.name])
            for entry in OBJECTS
            if entry.name in self._loaded.objects
            for program in entry.programs
            if program.when is when
        ]

    def _attached(self, when: When) -> bool:
        names = {program.pin for program, _ in self._programs(when)}
        return any(name in self._links.held or self._pins.has_link(name) for name in names)

    def _switch(self, when: When, on: bool) -> None:
        shared = self._loaded.shared
        for program, fd in self._programs(when):
            if on:
                # one of the system calls may not exist on this machine (arm64 has no fork): the others count
                with contextlib.suppress(FileNotFoundError):
                    self._links.keep(program, fd, shared)
            else:
                self._links.drop(program.pin)

    def _configure(self, settings: KernelSettings) -> None:
        self.losses.reserve()
        before = self.config.read()
        self.epoch = before.epoch or time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        rates = (0, settings.process_rate, settings.flow_rate, settings.payload_rate, settings.bulk_rate)
        self.config.write(
            abi.ConfigValue._make(
                (
                    self.epoch,
                    *rates,
                    *(int(rate * settings.burst_s) for rate in rates),
                    settings.wakeup_bytes,
                    int(self.tags.capacity * settings.tag_high_water),
                    int(self.tags.capacity * (1 + settings.tag_high_water) / 2),
                    *[0] * (2 * Limit.GUARDED),
                )
            )
        )

    def _attach(self) -> None:
        shared = self._loaded.shared
        for entry in OBJECTS:
            if entry.name not in self._loaded.objects and entry.name not in self._loaded.refused:
                continue  # a fallback that is not needed
            reason = self._loaded.refused.get(entry.name, "")
            if not reason:
                reason = self._attach_object(entry, shared)
            if entry.fallback_for and not reason:
                # what it tells is not missing, though the object that should have told it is
                self.coverage = [fact for fact in self.coverage if fact.fact not in entry.named]
            held = any(program.pin in self._links.held for program in entry.programs)
            self.coverage += facts_of(entry, reason, held)
        self._tidy()
        for when in (When.LEAVERS, When.ISOLATING, When.CONDEMNING):
            # an earlier sensor's: kept, or replaced by this version's
            if any(self._pins.has_link(program.pin) for program, _ in self._programs(when)):
                self._switch(when, True)

    def _attach_object(self, entry: Object, shared: frozenset[int]) -> str:
        """Attach what is always attached; the kernel's reason when it refuses."""
        for program in entry.programs:
            if program.when is not When.ALWAYS:
                continue
            try:
                if self._links.keep(program, self._loaded.programs[program.name], shared):
                    self.adopted = True
            except OSError as error:
                for each in entry.programs:
                    self._links.drop(each.pin)
                self._loaded.refuse(entry.name, str(error))
                return str(error)
        return ""

    def _tidy(self) -> None:
        """Remove links of hooks that this version no longer has, and of agents' cgroups that are gone."""
        known = {program.pin for entry in OBJECTS for program in entry.programs if entry.name in self._loaded.objects}
        for name in self._pins.link_names():
            if not name.startswith(_WATCH):
                if name not in known:
                    self._pins.drop_link(name)
                continue
            fd = self._pins.link(name)
            if fd is None:
                continue
            cgroup = bpf.link_info(fd).cgroup
            os.close(fd)
            if not cgroup:
                self._pins.drop_link(name)


def _tag_entries(settings: KernelSettings) -> int:
    return max(64, min(host.pid_max(), settings.tag_memory_bytes // _TAG_ENTRY_BYTES))


def _load(loader: Loader) -> None:
    for entry in OBJECTS:
        if entry.fallback_for and entry.fallback_for not in loader.loaded.refused:
            continue
        if not loader.load(entry) and entry.needed:
            raise NothingLoads(
                f"this kernel refuses {entry.name}.bpf.o, without which nothing works: {loader.loaded.refused[entry.name]}"
            )
    hooks = [entry.name for entry in OBJECTS if any(each.when is When.ALWAYS for each in entry.programs)]
    if not any(name in loader.loaded.objects for name in hooks):
        reasons = "; ".join(f"{name}: {why}" for name, why in list(loader.loaded.refused.items())[:3])
        raise NothingLoads(f"this kernel refuses every hook ({reasons}): see `rubicon doctor`")


assert all(program.how is not How.RUN or program.when is When.ASKED for entry in OBJECTS for program in entry.programs)
