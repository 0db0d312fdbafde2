"""Beside CMD until it ends: pass signals on, stop when it stops, go on when it goes on."""

from __future__ import annotations

import os
import signal
from types import FrameType

from rubicon.cli.launch.child import Child
from rubicon.cli.launch.terminal import Terminal

FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def ignored() -> list[int]:
    """Signals that we were started with ignored."""
    return [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]


def wait(child: Child, terminal: Terminal) -> int:
    """Wait for the end; returns the status as a shell tells it: 0 to 255, 128 + n after signal n."""

    def forward(number: int, _frame: FrameType | None) -> None:
        child.signal(number)

    def resumed(_number: int, _frame: FrameType | None) -> None:
        terminal.give(child)
        child.signal(signal.SIGCONT)

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    signal.signal(signal.SIGCONT, resumed)
    while True:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            _stop(child, terminal)
            continue
        terminal.take(child, restore=os.WIFSIGNALED(status))
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _stop(child: Child, terminal: Terminal) -> None:
    if not child.group:
        return  # whoever stopped it did not mean us
    terminal.take(child, restore=False)
    os.kill(os.getpid(), signal.SIGSTOP)
    # `resumed` gives the terminal back: it runs before this returns
