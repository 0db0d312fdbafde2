"""Links: made in one place for all kinds, adopted when the same program is in force already, replaced when another is."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from sensor.kernel import bpf, host
from sensor.kernel.pins import Pins, same_program
from sensor.kernel.programs import AttachType, How, Program

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Wanted:
    """A link that ought to be in force."""

    program: Program
    fd: int
    """Of the program."""
    cgroup: int | str | Path
    """Where a cgroup program is attached."""


class Links:
    """The links of one instance. `held` has those that cannot be pinned on this kernel: they die with the sensor."""

    def __init__(self, pins: Pins, cgroup_root: Path) -> None:
        self.held: dict[str, int] = {}
        self.wanted: dict[str, Wanted] = {}
        """What is to be in force, by the name of its pin."""
        self.open: dict[str, int] = {}
        """Of pinned links that are to stay when their pin goes (upkeep.py); closed by `drop`, or the hook would stay on."""
        self.lock = threading.RLock()
        """Held while links come or go, and by whoever compares what is wanted with what there is."""
        self._pins = pins
        self._root = cgroup_root

    def keep(self, program: Program, fd: int, shared: frozenset[int]) -> bool:
        """Have a program attached, once; True when the link was in force before.

        Raises:
            OSError: the kernel refuses the hook.
        """
        with self.lock:
            found = self._keep(program, fd, shared, program.pin, self._root)
            self.wanted[program.pin] = Wanted(program, fd, self._root)
            return found

    def watch(self, program: Program, fd: int, name: str, cgroup: int | str | Path) -> None:
        """Attach a program to an agent's own cgroup; what has the name already is replaced.

        Raises:
            OSError: no such cgroup, or the kernel refuses.
        """
        with self.lock:
            self._attach_cgroup(program, fd, name, cgroup)
            self.wanted[name] = Wanted(program, fd, cgroup)

    def drop(self, name: str) -> None:
        """Detach; nothing happens where nothing is."""
        with self.lock:
            self.wanted.pop(name, None)
            self._pins.drop_link(name)
            for descriptors in (self.held, self.open):
                if name in descriptors:
                    os.close(descriptors.pop(name))

    def renew(self, name: str) -> None:
        """Attach anew what is wanted and is not in force, or runs another program; what has the name is replaced.

        Raises:
            OSError: its cgroup is gone, or the kernel refuses.
        """
        with self.lock:
            wanted = self.wanted[name]
            self._pins.drop_link(name)
            if wanted.program.how is How.CGROUP:
                self._attach_cgroup(wanted.program, wanted.fd, name, wanted.cgroup)
            else:
                self._keep(wanted.program, wanted.fd, frozenset(), name, self._root)

    def _keep(self, program: Program, fd: int, shared: frozenset[int], name: str, cgroup: Path) -> bool:
        if name in self.held:
            return True
        old = self._pins.link(name)
        if old is not None:
            try:
                if not bpf.link_info(old).detached and same_program(old, fd, shared):
                    return True
            finally:
                os.close(old)
        if program.how is How.CGROUP:
            self._attach_cgroup(program, fd, name, cgroup)
        elif program.how is How.TRACEPOINT:
            link, pinnable = bpf.link_perf(fd, AttachType.PERF_EVENT, host.tracepoint_id(program.tracepoint))
            if pinnable:
                self._pin(name, link)
            else:
                self.held[name] = link
        else:
            self._pin(name, bpf.link_tracepoint(fd, AttachType.TRACE_RAW_TP))
        return False

    def _attach_cgroup(self, program: Program, fd: int, name: str, cgroup: int | str | Path) -> None:
        target = cgroup if isinstance(cgroup, int) else os.open(cgroup, _OPEN)
        try:
            # a link stands beside other links and programs of the same hook (as with BPF_F_ALLOW_MULTI), never in their place
            self._pin(name, bpf.link_create(fd, target, program.attach_type))
        finally:
            if target != cgroup:
                os.close(target)

    def _pin(self, name: str, link: int) -> None:
        try:
            self._pins.put_link(name, link)
        finally:
            os.close(link)

    def close(self) -> None:
        """Let go of what cannot be pinned."""
        for fd in self.held.values():
            os.close(fd)
        self.held.clear()
