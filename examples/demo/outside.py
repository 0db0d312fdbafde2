"""The world outside: a host in a network namespace of its own, with a real OpenSSH server on port 443."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

NAMESPACE = "rubicon-demo"
HERE, THERE = "198.51.100.1", "198.51.100.2"  # TEST-NET-2 (RFC 5737)
NEAR, FAR = "rubicon-demo0", "rubicon-demo1"
PORT = 443
PULL = """
import sys, urllib.request
print(len(urllib.request.urlopen("http://127.0.0.1:%d/weights.bin", timeout=2).read()))
"""


class Outside:
    """The namespace and its server; `close` removes both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def open(self) -> None:
        """Make the namespace, a link to it, keys and the server.

        Raises:
            RuntimeError: a command failed, or the server does not answer.
        """
        self.close()  # what a crashed run left
        run("ip", "netns", "add", NAMESPACE)
        run("ip", "link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", NAMESPACE)
        run("ip", "addr", "add", f"{HERE}/30", "dev", NEAR)
        run("ip", "link", "set", NEAR, "up")
        for words in (f"addr add {THERE}/30 dev {FAR}", f"link set {FAR} up", "link set lo up"):
            run("ip", "-n", NAMESPACE, *words.split())
        for key in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        self._serve()

    def _serve(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own empty folder
        config = self.folder / "sshd.conf"
        config.write_text(
            f"ListenAddress {THERE}:{PORT}\nHostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/authorized\n"
            "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\n"
        )
        self._log = (self.folder / "sshd.log").open("wb")
        self._server = subprocess.Popen(
            ["ip", "netns", "exec", NAMESPACE, shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 10
        while b"Server listening" not in (self.folder / "sshd.log").read_bytes():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text()}")
            time.sleep(0.05)

    def pull(self, port: int) -> int:
        """Fetch the file through the tunnel's port, outside; bytes that arrived, 0 when there is no tunnel."""
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, "python3", "-c", PULL % port],
            capture_output=True,
            text=True,
            check=False,
        )
        return int(done.stdout) if done.returncode == 0 else 0

    def connections(self) -> int:
        """SSH connections that stand, as the outside host's kernel counts them."""
        listed = run("ip", "netns", "exec", NAMESPACE, "ss", "-Htn", "state", "established", f"( sport = :{PORT} )")
        return len(listed.splitlines())

    def close(self) -> None:
        """Remove everything.

        Raises:
            RuntimeError: the namespace is still there.
        """
        if self._server:
            self._server.terminate()
            self._server.wait()
            self._server = None
        if self._log:
            self._log.close()
        for pid in _inside():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        gone = subprocess.run(["ip", "netns", "del", NAMESPACE], capture_output=True, text=True, check=False)
        subprocess.run(["ip", "link", "del", NEAR], capture_output=True, check=False)
        if Path("/run/netns", NAMESPACE).exists():
            raise RuntimeError(gone.stderr.strip())


def _inside() -> list[int]:
    """Sessions of the server: whatever still lives in the namespace that this demo made."""
    listed = subprocess.run(["ip", "netns", "pids", NAMESPACE], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in listed.split()]


def run(*command: str) -> str:
    """Run a command; its output.

    Raises:
        RuntimeError: it failed; the message has what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
