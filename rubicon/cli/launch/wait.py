"""Beside CMD until it ends: pass signals on, stop when it stops, go on when it goes on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from rubicon.cli import interrupt
from rubicon.cli.launch.child import Child
from rubicon.cli.launch.terminal import Terminal

FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def ignored() -> list[int]:
    """Signals that we were started with ignored."""
    return [number for number in FORWARDED if signal.getsignal(number) == signal.SIG_IGN]


def forward(child: Child, terminal: Terminal) -> None:
    """From now on what is sent to us reaches CMD. To be called before CMD may execute: no signal falls between."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.signal(number)

    def resumed(_number: int, _frame: FrameType | None) -> None:
        terminal.give(child)
        child.signal(signal.SIGCONT)

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.signal(signal.SIGCONT, resumed)


def wait(child: Child, terminal: Terminal) -> int:
    """Wait for the end; returns the status as a shell tells it: 0 to 255, 128 + n after signal n."""
    with _woken() as sleep:
        while True:
            # it stays unreaped until nothing is passed on any more: its pid cannot become a stranger's before
            seen = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT | os.WNOHANG)
            if seen is None:
                sleep()
            elif seen.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED):
                if os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG):
                    _stop(child, terminal)
            else:
                break
    _pass_nothing_on()
    _, status = os.waitpid(child.pid, 0)
    terminal.take(child, restore=os.WIFSIGNALED(status))
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@contextlib.contextmanager
def _woken() -> Iterator[Callable[[], None]]:
    """A sleep that every signal ends, also one that came just before it.

    A handler of Python's runs between two instructions: a signal that comes after the last one and before a blocking
    call of the kernel would wait for that call's end, which for waitid is the child's.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def sleep() -> None:
        select.select([woken], [], [])
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 4096)

    try:
        yield sleep
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        os.close(wake)
        os.close(woken)


def _stop(child: Child, terminal: Terminal) -> None:
    if not child.group:
        return  # whoever stopped it did not mean us
    terminal.take(child, restore=False)
    os.kill(os.getpid(), signal.SIGSTOP)
    # `resumed` gives the terminal back: it runs before this returns


def _pass_nothing_on() -> None:
    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt.end if number == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
