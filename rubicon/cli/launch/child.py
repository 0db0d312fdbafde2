"""The child that becomes CMD. It is forked first, waits at a gate until it is enrolled, and only then executes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from rubicon.cli.launch.identity import Identity
from rubicon.cli.launch.profile.launch import Profile

_DEFAULT = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)
_WALLS, _PROFILE, _EXEC = b"w", b"p", b"x"
"""At which step the child failed; errno follows."""


class NotStarted(Exception):
    """CMD could not be executed; `status` is what env(1) would exit with: 127 not found, 126 otherwise.

    125 where the kernel has refused the launch profile.
    """

    def __init__(self, program: str, told: bytes) -> None:
        step, number = told[:1], int(told[1:])
        if step in (_WALLS, _PROFILE):
            what = "the launch profile" if step == _PROFILE else "the launch profile's mounts"
            super().__init__(f"the kernel refuses {what}, and so {program} was not run: {os.strerror(number)}")
            self.status = 125
        else:
            super().__init__(f"{program}: {os.strerror(number)}")
            self.status = 127 if number in (errno.ENOENT, errno.ENOTDIR) else 126


@dataclass(frozen=True, slots=True)
class Child:
    """A forked child; `group` says that it leads a process group of its own."""

    pid: int
    group: bool
    program: str
    _gate: int
    _failure: int

    @classmethod
    def fork(
        cls,
        command: Sequence[str],
        identity: Identity,
        profile: Profile,
        *,
        group: bool,
        ignored: Sequence[int] = (),
    ) -> Child:
        """Fork it; it waits.

        Args:
            profile: what it runs under, ready.
            ignored: signals that the caller was started with ignored (nohup): CMD keeps them so.
        """
        gate, release = os.pipe()
        failure, report = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 125
            try:
                os.close(release)
                os.close(failure)
                if group:
                    os.setpgid(0, 0)
                if os.read(gate, 1):
                    status = _become(command, identity, profile, report, ignored)
            finally:
                os._exit(status)
        os.close(gate)
        os.close(report)
        if group:
            with contextlib.suppress(OSError):  # the child has done it, or is gone
                os.setpgid(pid, pid)
        return cls(pid, group, command[0], release, failure)

    def close(self) -> None:
        """In another child of ours: its pipes are not that one's."""
        os.close(self._gate)
        os.close(self._failure)

    def release(self) -> None:
        """Let it execute, and return when it has.

        Raises:
            NotStarted: CMD could not be executed; the child is gone.
        """
        os.write(self._gate, b"x")
        os.close(self._gate)
        told = os.read(self._failure, 16)
        os.close(self._failure)
        if told:
            os.waitpid(self.pid, 0)
            raise NotStarted(self.program, told)

    def abandon(self) -> None:
        """It is not to run: let it end without having executed anything."""
        self.close()
        os.waitpid(self.pid, 0)

    def signal(self, number: int) -> None:
        """To its group, where it leads one."""
        with contextlib.suppress(ProcessLookupError):
            if self.group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def _become(command: Sequence[str], identity: Identity, profile: Profile, report: int, ignored: Sequence[int]) -> int:
    step = _WALLS
    try:
        for number in _DEFAULT:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        profile.build_walls(root=identity.uid == 0)
        step = _PROFILE
        profile.apply()
        step = _EXEC
        identity.become()
        os.execvpe(command[0], list(command), identity.environment(os.environ))
    except OSError as error:
        os.write(report, step + str(error.errno or errno.EIO).encode())
        return 126
