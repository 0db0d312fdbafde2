"""`rubicon run` on a real terminal (a pty): job control as in a shell, and a screen that nobody writes into."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.host import Host

pytestmark = pytest.mark.root


class Terminal:
    """A shell on a pty of its own."""

    def __init__(self, host: Host) -> None:
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {
                **host.environment,
                "PS1": "$ ",
                "TERM": "xterm",
                "HISTFILE": "",
                "RUBICON": host.command()[0],
            }
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str, seconds: float = 60) -> str:
        """Read until the pattern comes after what was expected before; returns the text up to its end."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(host: Host) -> Iterator[Terminal]:
    shell = Terminal(host)
    shell.expect(r"\$ ")
    shell.type("bind 'set enable-bracketed-paste off'; echo plain\n")
    shell.expect(r"plain\r\n\$ ")
    yield shell
    shell.close()


def test_cmd_has_the_terminal(terminal: Terminal) -> None:
    script = "import os; print('mine', os.isatty(0), os.tcgetpgrp(0) == os.getpgrp())"
    terminal.type(f'$RUBICON run -q -- python3 -c "{script}"\n')
    terminal.expect(r"\nmine True True")
    terminal.type("echo status=$?\n")
    terminal.expect(r"\nstatus=0")


def test_ctrl_c_ends_cmd_and_not_the_shell(terminal: Terminal) -> None:
    terminal.type("$RUBICON run -q -- sh -c 'echo started; exec sleep 100'\n")
    terminal.expect(r"\nstarted")
    terminal.type("\x03")
    terminal.expect(r"\$ ")
    terminal.type("echo status=$?\n")
    terminal.expect(r"\nstatus=130")


def test_ctrl_z_and_fg(terminal: Terminal) -> None:
    terminal.type("$RUBICON run -q -- sh -c 'echo started; read line; echo \"got $line\"; exit 3'\n")
    terminal.expect(r"\nstarted")
    terminal.type("\x1a")
    terminal.expect(r"Stopped[^\n]*\n")
    terminal.type("fg\n")
    terminal.expect(r"\nbash: |\$RUBICON run[^\n]*\n|run -q[^\n]*\n")
    terminal.type("hello\n")
    terminal.expect(r"got hello")
    terminal.type("echo status=$?\n")
    terminal.expect(r"\nstatus=3")


def test_bg_and_fg(terminal: Terminal) -> None:
    # one process: a shell that is just starting another by vfork stops only when that one has, and that one has stopped
    script = "import time; print('started', flush=True); time.sleep(0.5); raise SystemExit(4)"
    terminal.type(f'$RUBICON run -q -- /usr/bin/python3 -S -c "{script}"\n')
    terminal.expect(r"\nstarted")
    terminal.type("\x1a")
    terminal.expect(r"Stopped[^\n]*\n")
    terminal.type("bg; wait %1; echo status=$?\n")
    terminal.expect(r"\nstatus=4")


def test_alerts_wait_while_cmd_has_the_screen(terminal: Terminal) -> None:
    script = (
        "import socket\nl=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(l.getsockname())\n"
        "c.sendall(b'SSH-2.0-test\\r\\n')\nl.accept()[0].recv(20)\nimport time\ntime.sleep(1)\nprint('screen intact')\n"
    )
    with open(os.path.join("/tmp", f"rubicon-screen-{os.getpid()}.py"), "w") as file:
        file.write(script)
    try:
        terminal.type(f"$RUBICON run -- python3 {file.name}\n")
        before = terminal.expect(r"\nscreen intact")
        assert "Outbound SSH" not in before
        terminal.expect(r"Outbound SSH")
        terminal.expect(r"1 alerts")
        # a job of a shell that is CMD has a group of its own, as an editor in it
        terminal.type("$RUBICON run -- bash --norc --noprofile -i\n")
        terminal.type(f"python3 {file.name}\n")
        before = terminal.expect(r"[\r\n]screen intact")
        assert "Outbound SSH" not in before
        terminal.type("exit\n")
        terminal.expect(r"Outbound SSH")
        terminal.expect(r"1 alerts")
    finally:
        os.unlink(file.name)
