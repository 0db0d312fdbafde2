"""Work by proxy: somebody outside does it on request. It is not the agent's; asking for it is recorded, and can be cut off."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.adversary.field import alerts
from tests.e2e.adversary.fight import events, fighter
from tests.e2e.adversary.wire import ended
from tests.e2e.host import Host, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

BROKER = """
import socket, subprocess, sys
unix, inet = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
unix.bind(sys.argv[1]); unix.listen()
print(inet.getsockname()[1], flush=True)
import selectors
ready = selectors.DefaultSelector()
for each in (unix, inet): ready.register(each, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        with key.fileobj.accept()[0] as asks:
            subprocess.run(asks.recv(1000).decode(), shell=True)
            asks.send(b"done")
"""
ASKS = """
import socket, sys
print("ready", flush=True)
for line in sys.stdin:
    kind, place, wish = line.strip().split(" ", 2)
    try:
        with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as asks:
            asks.connect(place if kind == "unix" else ("127.0.0.1", int(place)))
            asks.send(wish.encode())
            print(asks.recv(10).decode(), flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """What docker, systemd and sshd are: it does what a socket says, outside the agent."""
    command = [sys.executable, "-S", "-c", BROKER, str(tmp_path / "broker.sock")]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout
        yield tmp_path / "broker.sock", process.stdout.readline().strip()


@pytest.mark.needs("unix_connect")
def test_a_broker(host: Host, broker: tuple[Path, str], tmp_path: Path) -> None:
    """Through a Unix socket like docker's, through a port like sshd's."""
    place, port = broker
    with fighter(host, sys.executable, "-S", "-c", ASKS) as fights:

        def ask(kind: str, where: object, mark: str) -> str:
            assert fights.kept.process.stdin
            fights.kept.process.stdin.write(f"{kind} {where} cat /proc/self/cgroup > {tmp_path / mark}\n")
            fights.kept.process.stdin.flush()
            return fights.kept.line()

        assert ask("unix", place, "unix") == "done"
        assert ask("inet", port, "inet") == "done"
        for mark in ("unix", "inet"):
            assert host.instance.cgroup not in (tmp_path / mark).read_text(), "it ran outside"
        assert events(host, fights.name, str(place)), "who was asked is recorded"
        fights.act("isolate")
        assert ask("inet", port, "isolated") == "1", "EPERM"
        assert ask("unix", place, "still") == "done", "a Unix socket goes on"
        fights.act("release")
        fights.act("isolate", "--unix")
        assert ask("unix", place, "cut") == "1"
        assert not (tmp_path / "cut").exists()
        fights.killed()


@pytest.mark.needs("unix_connect")
def test_a_tmux_server_that_was_there_before(host: Host, tmp_path: Path) -> None:
    server, mark = tmp_path / "tmux.sock", tmp_path / "ran"
    tmux = ["tmux", "-S", str(server), "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "-s", secrets.token_hex(4), "sleep 600"], check=True)
    try:
        wish = [*tmux, "new-window", f"cat /proc/self/cgroup > {mark}"]
        name = f"asks-{secrets.token_hex(4)}"
        done = host.rubicon("run", "-q", "--user", "root", "--name", name, "--", *wish)
        assert done.returncode == 0, done.stderr
        until(lambda: mark.exists() and mark.read_text())
        assert host.instance.cgroup not in mark.read_text(), "it ran under the server"
        assert events(host, name, str(server))
        (alert,) = (each for each in alerts(host, "work-by-proxy", "tmux") if str(server) in str(each["evidence"]))
        assert alert["severity"] == "critical"
        assert "tmux: server" in str(alert["evidence"])
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)


def test_a_stranger_that_an_agent_reads_from(host: Host) -> None:
    """The counterpart: no socket of the agent's, no environment of a stranger's, is read by it."""
    with socket.create_server(("127.0.0.1", 0)):
        stranger = subprocess.Popen(["sleep", "600"], env={"RUBICON_TOKEN": "secret"})
        try:
            for user, answer in (("root", "No such file or directory"), ("nobody", "Permission denied")):
                done = host.rubicon("run", "-q", "--user", user, "--", "cat", f"/proc/{stranger.pid}/environ", cwd="/")
                assert "secret" not in done.stdout
                assert answer in done.stderr
        finally:
            stranger.kill()
            stranger.wait()
