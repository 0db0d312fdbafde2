"""An agent's processes as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rubicon.client.records.process import Process

Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Tree:
    """`processes` has parents before children, oldest first."""

    processes: Sequence[Process]

    def __len__(self) -> int:
        return len(self.processes)

    def __iter__(self) -> Iterator[Process]:
        return iter(self.processes)

    def walk(self) -> Iterator[tuple[int, bool, Process]]:
        """Depth first: (depth, last of its parent's children, process). Roots have depth 0.

        A process whose parent is not listed (it has ended, or is no agent's) is a root.
        """
        listed = {process.key for process in self.processes}
        below: dict[Key | None, list[Process]] = defaultdict(list)
        for process in self.processes:
            above = (process.boot_id, process.parent_pid, process.parent_start_time)
            below[above if above in listed and above != process.key else None].append(process)
        stack = [(0, last, process) for last, process in _marked(below[None])]
        while stack:
            depth, is_last, process = stack.pop()
            yield depth, is_last, process
            stack.extend((depth + 1, last, child) for last, child in _marked(below[process.key]))


def _marked(siblings: list[Process]) -> list[tuple[bool, Process]]:
    """Siblings for a stack: the last comes first, and is marked."""
    return [(place == 0, process) for place, process in enumerate(reversed(siblings))]
