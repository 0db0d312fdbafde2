"""Job control, as a shell does it: CMD's group has the terminal while it runs, and gives it back when it stops or ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from typing import Any

from rubicon.cli.launch.child import Child


class Terminal:
    """The controlling terminal on stdin, or nothing."""

    def __init__(self) -> None:
        self._fd = -1
        self._modes: list[Any] | None = None
        with contextlib.suppress(OSError, ValueError):
            fd = sys.stdin.fileno()
            if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
                self._fd = fd
                self._modes = termios.tcgetattr(fd)
        if self.present:
            # handing the terminal over from the background would stop us otherwise
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    @property
    def present(self) -> bool:
        """There is one, and it was ours when we started."""
        return self._fd >= 0

    def give(self, child: Child) -> None:
        """Make CMD's group the foreground one, if ours is."""
        if self.present and child.group:
            with contextlib.suppress(OSError):
                if os.tcgetpgrp(self._fd) == os.getpgrp():
                    os.tcsetpgrp(self._fd, child.pid)

    def take(self, child: Child, *, restore: bool) -> None:
        """Make our group the foreground one again, if CMD's is; `restore` also sets the modes back."""
        if not self.present or not child.group:
            return
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(self._fd) == child.pid:
                os.tcsetpgrp(self._fd, os.getpgrp())
        if restore and self._modes:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)

    def busy(self, child: Child) -> bool:
        """CMD has the terminal now, or a job of a shell that it is: what we would print would go into its screen."""
        if not self.present or not child.group:
            return False
        try:
            return os.tcgetpgrp(self._fd) not in (os.getpgrp(), os.getpgid(os.getsid(0)))
        except OSError:
            return False
