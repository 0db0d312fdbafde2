"""Which programs an agent has run already: the first run of each is news, the thousandth compiler of a build is not."""

from __future__ import annotations

from rubicon.v1 import event_pb2

PROGRAMS = 4096
"""Remembered, of all agents; then the one that was new the longest ago is forgotten, and so is new once more."""


class Programs:
    """By agent and file: what a program calls itself, and by which name it was found, is its own choice."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], None] = {}

    def is_new(self, event: event_pb2.Event) -> bool:
        """This exec is the agent's first of this file, as far as is remembered; a file that nobody else can open always is."""
        program = event.exec
        if program.memfd or program.deleted:
            return True
        key = (event.agent_id, program.device, program.inode)
        if key in self._known:
            return False
        if len(self._known) >= PROGRAMS:
            del self._known[next(iter(self._known))]
        self._known[key] = None
        return True
