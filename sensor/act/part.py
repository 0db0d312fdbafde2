"""The part of an agent that is isolated: the processes that are marked in their tags.

A child gets its maker's mark with its tag, before its first instruction. So when everybody who descends from a process is
marked, everybody who ever will is. A mark is the number of an isolation, and counts while the agent's own flags have that
number: so none that an earlier isolation left has to be found and taken away, in tags as in sockets, of which many are in no
process's hands (a queue, a subflow of MPTCP).

A process that forks and ends, over and over, while it is being marked can get a child out of it: whose that is nobody sees,
once its maker is gone. An isolation of the whole agent has no such gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sensor.act.hunt import Hunt
from sensor.act.processes import Key, Task, key
from sensor.act.registry import Living
from sensor.kernel.enums import AgentFlag, TagFlag

if TYPE_CHECKING:
    from sensor.act.enrol import Enroller


_LOWEST = AgentFlag.PART & -AgentFlag.PART
MOST = AgentFlag.PART // _LOWEST
"""Numbers of isolations; after that they begin anew at 1."""


def flag(number: int) -> int:
    """The bits of AgentFlag, TagFlag and OwnerFlag that say it; 0 for number 0."""
    return number * _LOWEST


def number(flags: int) -> int:
    """The inverse, from an agent's flags."""
    return (flags & AgentFlag.PART) // _LOWEST


class Part:
    """Marks processes, and says who is marked."""

    def __init__(self, enroller: Enroller, patience_s: float) -> None:
        self._kernel = enroller.kernel
        self._patience_s = patience_s

    def mark(self, hunt: Hunt, deny: Callable[[], None]) -> bool:
        """Mark a process with all that descend from it, look by look, until two in a row find nobody who is not.

        Args:
            deny: has the marks count; called after the first look, as the others only find who was born meanwhile.

        Returns:
            False where patience ended before that.
        """
        deadline = time.monotonic() + self._patience_s
        self._mark(hunt, hunt.look())
        deny()
        quiet = 0
        while quiet < 2:
            quiet = 0 if self._mark(hunt, hunt.look()) else quiet + 1
            if time.monotonic() > deadline:
                return False
        return True

    def again(self, agent: Living) -> bool:
        """Mark whoever of it has lost the mark: a tag that was taken away comes back without. False when nobody of it lives."""
        hunt = self.hunt(agent)
        tasks = hunt.look() if hunt else []
        return bool(hunt and self._mark(hunt, tasks)) or bool(self.marked(agent, tasks))

    def hunt(self, agent: Living) -> Hunt | None:
        """For who is isolated alone; None where the whole agent is."""
        parts = [(pid, start_time) for pid, start_time in agent.isolated_parts]
        return Hunt(self._kernel, agent, None, parts[1:], parts[0]) if parts else None

    def marked(self, agent: Living, tasks: Iterable[Task]) -> set[Key]:
        """Who of these is."""
        wanted = flag(agent.part), agent.number
        return {key(task) for task in tasks if (task.flags & TagFlag.PART, task.agent) == wanted}

    def _mark(self, hunt: Hunt, tasks: Sequence[Task]) -> int:
        """Of one look; how many were not. Whoever has no tag is just being born, with his maker's mark, or dying."""
        agent = hunt.agent
        wanted = flag(agent.part)
        fresh = 0
        for task in hunt.members(tasks):
            if task.agent == agent.number and task.flags & TagFlag.PART != wanted:
                off = TagFlag.PART & ~wanted
                fresh += self._kernel.tags.flag(task.pid, agent.number, task.start_time, on=wanted, off=off)
        return fresh
