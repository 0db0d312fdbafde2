"""Files of the daemons that an agent removed, renamed, cut short or put there: it opens nothing, so the kernel asks nobody.

The kernel tells of it afterwards (fanotify, FAN_REPORT_DFID_NAME, 5.9), with the pid of who did it. Read at each look; who has
ended since is known from his exit's record. Where somebody who is no agent has that pid by then, nobody is named.
"""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from rubicon.v1 import event_pb2
from rubicon.v1.ids import agent_number
from sensor.guard.report import Report
from sensor.guard.tags import exiting
from sensor.kernel.fanotify import Change, Changed, Watcher
from sensor.kernel.maps import Tags

log = structlog.get_logger(part="guard")
ENDED = 4096
"""Processes of agents that have ended, the last ones."""
WAIT_S = 3.0
"""Seconds that a change waits for the record of its maker's exit."""
_WORDS = {
    Change.MADE: "made",
    Change.REMOVED: "removed",
    Change.MOVED_AWAY: "moved away",
    Change.MOVED_HERE: "moved something to",
    Change.WRITTEN: "wrote or cut short",
}


class Changes:
    """`saw_exit` is called from the collector's loop, the others by one thread."""

    def __init__(self, folder: Path, spared: Path, tags: Tags, report: Report) -> None:
        self._folder = folder
        self._spared = spared
        self._tags = tags
        self._report = report
        self._ended: dict[int, tuple[int, int]] = {}
        """Agent and start time by pid, the last one at the end."""
        self._open: list[tuple[float, Changed]] = []
        self._watcher: Watcher | None = None
        self.refused = ""
        """The kernel's reason where it does not tell."""

    def saw_exit(self, event: event_pb2.Event) -> None:
        """Remember who has ended."""
        process = event.process
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = agent_number(event.agent_id), process.start_time_ns
        while len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]

    def start(self) -> None:
        """Watch the folders that there are; where that is refused the sensor runs without, and coverage says so."""
        try:
            self._watcher = Watcher()
        except OSError as error:
            self.refused = str(error)
            return
        self._mark()

    def look(self) -> None:
        """Tell what agents have changed since the last look; watch folders that are new."""
        if not self._watcher:
            return
        self._mark()
        now = time.monotonic()
        pending, self._open = self._open, []
        fresh = dict.fromkeys(self._watcher.changes())
        for due, change in (*pending, *((now + WAIT_S, change) for change in fresh)):
            tag = self._tags.get(change.pid)
            if not tag and not exiting(change.pid):
                continue  # a daemon's: an agent's process that had its number before has ended, and may be in `_ended`
            maker = (tag.agent, tag.start_time) if tag else self._ended.get(change.pid)
            if maker:
                agent, start_time = maker
                words = " and ".join(_WORDS[each] for each in Change if each in change.what)
                detail = f"{words} {change.folder}/{change.name}"
                self._report.tamper(agent, (change.pid, start_time), "file-change", detail)
            elif now < due:
                self._open.append((due, change))

    def stop(self) -> None:
        """Watch no more."""
        if self._watcher:
            self._watcher.close()
            self._watcher = None

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
