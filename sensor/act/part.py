"""The part of an agent that is isolated: the processes that are marked in their tags.

A child gets its maker's mark with its tag, before its first instruction. So when everybody who descends from a process is
marked, everybody who ever will is. A mark does nothing before the agent's own flags say that it counts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sensor.act.hunt import Hunt
from sensor.act.processes import Key, key
from sensor.act.registry import Living
from sensor.kernel.enums import AgentFlag, TagFlag

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller


_LOWEST = AgentFlag.PART & -AgentFlag.PART
MOST = AgentFlag.PART // _LOWEST
"""Numbers of isolations; after that they begin anew at 1."""


def flag(number: int) -> int:
    """What says in the kernel that only the marked are isolated, by the isolation of this number; 0 for number 0.

    A socket's mark is the same bits. With another isolation's they mean nothing, so nobody has to take them away: many a
    socket is in no process's hands (a queue, a subflow of MPTCP).
    """
    return number * _LOWEST


def number(flags: int) -> int:
    """The inverse, from an agent's flags."""
    return (flags & AgentFlag.PART) // _LOWEST


class Part:
    """Marks processes, and takes marks away."""

    def __init__(self, enroller: Enroller, patience_s: float) -> None:
        self._kernel = enroller.kernel
        self._patience_s = patience_s

    def mark(self, hunt: Hunt) -> None:
        """Mark a process with all that descend from it, look by look, until two in a row find nobody who is not; at most for
        the patience, as who is just being born has no tag yet."""
        deadline = time.monotonic() + self._patience_s
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            fresh = [task for task in hunt.members(hunt.look()) if not task.flags & TagFlag.PART]
            for task in fresh:
                self._kernel.tags.flag(task.pid, hunt.agent.number, task.start_time, on=TagFlag.PART)
            quiet = 0 if fresh else quiet + 1

    def again(self, agent: Living) -> None:
        """Mark whoever of it has lost the mark: a tag that was taken away comes back without."""
        hunt = self.hunt(agent)
        for task in hunt.members(hunt.look()) if hunt else ():
            if not task.flags & TagFlag.PART:
                self._kernel.tags.flag(task.pid, agent.number, task.start_time, on=TagFlag.PART)

    def hunt(self, agent: Living) -> Hunt | None:
        """For who is isolated alone; None where the whole agent is."""
        parts = [(pid, start_time) for pid, start_time in agent.isolated_parts]
        return Hunt(self._kernel, agent, None, parts[1:], parts[0]) if parts else None

    def marked(self, agent: Living) -> set[Key]:
        """Who is, and lives."""
        return {key(task) for task in self._kernel.tasks() if task.agent == agent.number and task.flags & TagFlag.PART}

    def clear(self, agent: Living) -> None:
        """Nobody of it is any more."""
        for pid, start_time in self.marked(agent):
            self._kernel.tags.flag(pid, agent.number, start_time, off=TagFlag.PART)
