"""No agent's process opens a file of the daemons: keys, database, spool, registry, audit.

The kernel asks before each opening (FAN_OPEN_PERM), and a thread of its own answers: EPERM for whoever is tagged, at once for
everybody else. The marks are on inodes and folders, so it does not matter by which name, bind mount, namespace or file handle
one comes, nor with which capabilities; no other file is any slower for it. What is not refused: unlink, rename and truncate,
which open nothing, and a descriptor that a daemon has open already.

Who waits for the answer may be a thread of this process: the answering thread therefore opens none of these files, and takes
no lock that somebody has while he opens one. When the sensor ends, whoever waits may go on; while it is stopped he waits, which
the supervisor ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from pathlib import Path

import structlog

from sensor.guard.report import Report
from sensor.kernel.coverage import Fact
from sensor.kernel.fanotify import Fanotify, Opening
from sensor.kernel.maps import Tags

log = structlog.get_logger(part="guard")
_HOOK = "fsnotify_open_perm"


class Files:
    """Guards one folder and what is below it."""

    def __init__(self, folder: Path, spared: Path, tags: Tags, report: Report) -> None:
        """`spared` is a folder below that is not guarded: logs, which the supervisor opens, and it must not wait for us."""
        self._folder = folder
        self._spared = spared
        self._tags = tags
        self._report = report
        self._refused = ""
        self._group: Fanotify | None = None
        self._thread: threading.Thread | None = None
        self._stop = -1

    @property
    def fact(self) -> Fact:
        """For coverage."""
        missing = f"agents that are root may open keys, database and spool: {self._refused}" if self._refused else ""
        return Fact("daemon-files", _HOOK, "fanotify", "missing" if missing else "full", missing, dies_with_sensor=True)

    def start(self) -> None:
        """Guard what is there; nothing happens where the kernel cannot, and coverage says so."""
        try:
            group = Fanotify()
        except OSError as error:
            self._refused = str(error)
            log.warning("files are not guarded", error=str(error))
            return
        self._group = group
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._answer, args=(group,), name="guard-files", daemon=True)
        self._thread.start()
        self.look()

    def look(self) -> None:
        """Mark what is there, and so what was made since; a second mark is the first."""
        if self._group:
            self._look(self._group, self._folder)

    def stop(self) -> None:
        """Whoever waits may go on."""
        if self._thread:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            os.close(self._stop)
        if self._group:
            self._group.close()
            self._group = None

    def _look(self, group: Fanotify, folder: Path) -> None:
        try:
            group.mark_folder(str(folder))
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._look_at(group, entry)
        except FileNotFoundError:
            pass  # it went meanwhile
        except OSError as error:
            self._refused = str(error)

    def _look_at(self, group: Fanotify, entry: os.DirEntry[str]) -> None:
        if entry.is_dir(follow_symlinks=False):
            if Path(entry.path) != self._spared:
                self._look(group, Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                group.mark_file(entry.path)

    def _answer(self, group: Fanotify) -> None:
        poll = select.poll()
        poll.register(group.fd, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._stop in ready:
                return
            try:
                waiting = list(group.waiting())
            except OSError as error:
                log.error("an opening was refused unasked", error=str(error))
                continue
            for opening in waiting:
                try:
                    self._answer_one(group, opening)
                except Exception as error:  # noqa: BLE001  # whatever it is, the others must not wait for ever
                    log.error("an opening could not be told", error=repr(error))

    def _answer_one(self, group: Fanotify, opening: Opening) -> None:
        try:
            try:
                tag = self._tags.get(opening.pid)
            except OSError:
                tag = None
            group.answer(opening, allow=tag is None)
            if tag is None:
                with contextlib.suppress(OSError):
                    group.mark_opened(opening.fd)
                return
            path = os.readlink(f"/proc/self/fd/{opening.fd}")
            detail = f"opened {path}; refused"
            self._report.tamper(tag.agent, (opening.pid, tag.start_time), "file-open", detail)
        finally:
            os.close(opening.fd)
