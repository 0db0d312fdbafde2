"""Files of the daemons that an agent removed, renamed, cut short or put there: it opens nothing, so the kernel asks nobody.

The kernel tells of it afterwards (fanotify, FAN_REPORT_DFID_NAME, 5.9), with the pid of who did it. Read at each look. Who
lives then is known by his tag, which he may have taken away: it comes back. Who has ended since the look before is known from
his exit's record. Whoever ended earlier made none of these changes, and a daemon may have his pid.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from rubicon.v1 import event_pb2
from rubicon.v1.ids import agent_number
from sensor.collect.clock import boottime_ns
from sensor.guard.report import Report
from sensor.guard.tags import exiting
from sensor.kernel.fanotify import Change, Changed, Watcher
from sensor.kernel.maps import Tags

log = structlog.get_logger(part="guard")
ENDED = 4096
"""Processes of agents that have ended, the last ones."""
WAIT_S = 3.0
"""Seconds that a change waits for the record of its maker's exit, or for his tag."""
_WORDS = {
    Change.MADE: "made",
    Change.REMOVED: "removed",
    Change.MOVED_AWAY: "moved away",
    Change.MOVED_HERE: "moved something to",
    Change.WRITTEN: "wrote or cut short",
}


@dataclass(frozen=True, slots=True)
class _Open:
    """A change whose maker is not known."""

    change: Changed
    since_ns: int
    """It was made after this, boot-time nanoseconds."""
    gone: bool
    """Nobody had its pid any more when it was read."""
    due: float
    """Until when it waits, time.monotonic()."""


class Changes:
    """`saw_exit` is called from the collector's loop, the others by one thread."""

    def __init__(self, folder: Path, spared: Path, tags: Tags, report: Report) -> None:
        self._folder = folder
        self._spared = spared
        self._tags = tags
        self._report = report
        self._ended: dict[int, tuple[int, int, int]] = {}
        """Agent, start time and end by pid, the last one at the end."""
        self._open: list[_Open] = []
        self._looked_ns = 0
        self._watcher: Watcher | None = None
        self.refused = ""
        """The kernel's reason where it does not tell."""

    def saw_exit(self, event: event_pb2.Event) -> None:
        """Remember who has ended."""
        process = event.process
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = agent_number(event.agent_id), process.start_time_ns, event.time_ns
        while len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]

    def start(self) -> None:
        """Watch the folders that there are; where that is refused the sensor runs without, and coverage says so."""
        try:
            self._watcher = Watcher()
        except OSError as error:
            self.refused = str(error)
            return
        self._looked_ns = boottime_ns()
        self._mark()

    def look(self) -> None:
        """Tell what agents have changed since the last look; watch folders that are new."""
        if not self._watcher:
            return
        self._mark()
        now, since_ns, self._looked_ns = time.monotonic(), self._looked_ns, boottime_ns()
        waiting, self._open = self._open, []
        for change in dict.fromkeys(self._watcher.changes()):
            maker = self._tagged(change.pid)
            if maker:
                self._tell(change, *maker)
            else:  # asked after the tag, which goes once the exit has begun
                waiting.append(_Open(change, since_ns, exiting(change.pid), now + WAIT_S))
        for each in waiting:
            maker = self._ended_since(each) if each.gone else self._tagged(each.change.pid)
            if maker:
                self._tell(each.change, *maker)
            elif now < each.due:
                self._open.append(each)

    def stop(self) -> None:
        """Watch no more."""
        if self._watcher:
            self._watcher.close()
            self._watcher = None

    def _tagged(self, pid: int) -> tuple[int, int] | None:
        """Agent and start time of who lives."""
        tag = self._tags.get(pid)
        return (tag.agent, tag.start_time) if tag else None

    def _ended_since(self, waiting: _Open) -> tuple[int, int] | None:
        """Agent and start time of who has ended, and not before he could have made the change."""
        agent, start_time, ended_ns = self._ended.get(waiting.change.pid, (0, 0, -1))
        return (agent, start_time) if ended_ns >= waiting.since_ns else None

    def _tell(self, change: Changed, agent: int, start_time: int) -> None:
        words = " and ".join(_WORDS[each] for each in Change if each in change.what)
        detail = f"{words} {change.folder}/{change.name}"
        self._report.tamper(agent, (change.pid, start_time), "file-change", detail)

    def _mark(self) -> None:
        assert self._watcher
        folders = [self._folder]
        while folders:
            folder = folders.pop()
            if folder == self._spared:
                continue
            try:
                self._watcher.watch(str(folder))
                folders += [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
            except FileNotFoundError:
                pass  # it went meanwhile
            except OSError as error:  # overlayfs had no file handles before 6.6, by which the kernel names a folder
                self.refused = f"{folder}: {error.strerror}"
