"""Which agents' processes hold something of ours in the kernel: a map, a program or a link, by its id in /proc/PID/fdinfo.

Nobody but the sensor has a reason to: the descriptor is how one changes it. Seen is who still holds it when looked at; one that
opens, changes and closes within a second is known by what it changed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sensor.act.processes import Task

_KINDS = {
    "anon_inode:bpf-map": "map",
    "anon_inode:bpf-prog": "prog",
    "anon_inode:bpf-link": "link",
    "anon_inode:bpf_link": "link",  # as older kernels name it
}
PROCESSES = 256
"""Looked at in one look, of the agents that could."""


def holders(tasks: Iterable[Task], ours: set[tuple[str, int]]) -> Iterator[tuple[Task, str, int]]:
    """(process, kind, id) of each thing of ours that a process has open."""
    for task in list(tasks)[:PROCESSES]:
        for kind, identity in held(task.pid):
            if (kind, identity) in ours:
                yield task, kind, identity


def held(pid: int) -> set[tuple[str, int]]:
    """(kind, id) of everything of bpf(2) that a process has open; nothing when it has ended."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError, ValueError, StopIteration):
                kind = _KINDS.get(os.readlink(entry.path))
                if kind:
                    lines = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(encoding="ascii").splitlines()
                    line = next(line for line in lines if line.startswith(f"{kind}_id:"))
                    found.add((kind, int(line.split()[1])))
    return found
