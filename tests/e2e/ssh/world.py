"""A small world for real SSH: a network namespace with real servers, keys of its own, and something worth forwarding
to.

Everything lives in one temporary folder and one network namespace, both gone when the world closes. Nothing of the
host's SSH configuration, keys or ports is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SSHD_PORTS = (443, 2222)
SECRET_PORT = 8000
SECRET = b"the inside of the house " * 2000
PYTHON = sys.executable
HERE = Path(__file__).parent


class World:
    """Real sshd on ports 443 and 2222 and a small HTTP-less secret server on 8000, all on 127.0.0.1 of an own
    namespace."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="rubicon-ssh-"))
        self.dir.chmod(0o755)
        self._started: list[subprocess.Popen[bytes]] = []
        self._made_run_sshd = False

    def __enter__(self) -> World:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self._started.append(holder)
        self.netns_pid = holder.pid
        mine = os.readlink("/proc/self/ns/net")
        wait(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != mine, "the network namespace")
        subprocess.run([*self.enter, "ip", "link", "set", "lo", "up"], check=True)
        self.keys()
        self.start([sys.executable, str(HERE / "secret_server.py"), str(SECRET_PORT), str(self.dir / "inside.sock")])
        self._sshd()
        for port in (*SSHD_PORTS, SECRET_PORT):
            self.reached(port)

    @property
    def enter(self) -> list[str]:
        """Prefix that runs a command in the world's network namespace."""
        return ["nsenter", f"--net=/proc/{self.netns_pid}/ns/net"]

    def keys(self) -> None:
        """Host key, and one user key in each client's format."""
        run = subprocess.run
        for name in ("host_key", "user_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.dir / name)], check=True)
        run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(self.dir / "host_rsa")], check=True)
        shutil.copy(self.dir / "user_key.pub", self.dir / "authorized_keys")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        run(
            ["dropbearconvert", "openssh", "dropbear", str(self.dir / "user_key"), str(self.dir / "user_key.dropbear")],
            **quiet,
        )
        run(["puttygen", str(self.dir / "user_key"), "-O", "private", "-o", str(self.dir / "user_key.ppk")], **quiet)
        found = run(
            ["ssh-keygen", "-l", "-E", "sha256", "-f", str(self.dir / "host_key.pub")],
            check=True,
            capture_output=True,
            text=True,
        )
        self.host_fingerprint = found.stdout.split()[1]

    def _sshd(self) -> None:
        if not Path("/run/sshd").exists():
            Path("/run/sshd").mkdir(mode=0o755)
            self._made_run_sshd = True
        config = self.dir / "sshd_config"
        lines = [
            *(f"Port {port}" for port in SSHD_PORTS),
            "ListenAddress 127.0.0.1",
            f"HostKey {self.dir}/host_key",
            f"HostKey {self.dir}/host_rsa",
            f"AuthorizedKeysFile {self.dir}/authorized_keys",
            f"PidFile {self.dir}/sshd.pid",
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "UsePAM no",
            "AllowAgentForwarding yes",
            "AllowTcpForwarding yes",
            "GatewayPorts clientspecified",
            "X11Forwarding yes",
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
            "LogLevel ERROR",
        ]
        config.write_text("\n".join(lines) + "\n")
        self.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])

    def start(self, command: Sequence[str], **environment: str) -> None:
        """Starts a server in the world; it ends with it."""
        with (self.dir / "servers.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.enter, *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(process)

    def reached(self, port: int) -> None:
        """Waits until something listens there."""
        wait(lambda: self.reachable(port), f"port {port}")

    def reachable(self, port: int) -> bool:
        """Whether something accepts connections on 127.0.0.1:port in the world."""
        probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 0.2)"
        return (
            subprocess.run([*self.enter, sys.executable, "-I", "-S", "-c", probe], stderr=subprocess.DEVNULL).returncode
            == 0
        )

    def pull(self, where: int | str, *, socks: int = 0, seconds: float = 20.0) -> bytes:
        """What comes back through a forwarded port or socket, asked again until the far end listens; the outside's
        side.

        With `socks` the port speaks SOCKS5 and that port of 127.0.0.1 is asked for.
        """
        extra = [str(socks)] if socks else []
        command = [*self.enter, PYTHON, "-I", "-S", str(HERE / "puller.py"), str(where), str(seconds), *extra]
        return subprocess.run(command, capture_output=True).stdout

    @property
    def options(self) -> list[str]:
        """OpenSSH options: this world's key, nobody's configuration, no questions."""
        pairs = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        return ["-F", "none", "-i", str(self.dir / "user_key"), *(f"-o{name}={value}" for name, value in pairs.items())]

    def config(self, name: str, *lines: str) -> Path:
        """A client's configuration file for Host `box` (port 443), with these lines in its block."""
        path = self.dir / name
        common = ("HostName 127.0.0.1", "Port 443", "User root", f"IdentityFile {self.dir}/user_key", "BatchMode yes")
        quiet = ("StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR")
        path.write_text("\n  ".join(("Host box", *common, *quiet, *lines)) + "\n")
        path.chmod(0o600)
        return path

    def renamed(self, program: str, name: str) -> str:
        """A copy of a program under another name."""
        copy = self.dir / name
        if not copy.exists():
            shutil.copy(shutil.which(program) or program, copy)
        return str(copy)

    def close(self) -> None:
        """Ends what this world started and removes its folder."""
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._started):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._made_run_sshd:
            shutil.rmtree("/run/sshd", ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def wait(condition: Callable[[], object], what: str, deadline: float = 15.0) -> None:
    """Polls until the condition holds.

    Raises:
        TimeoutError: it never did, naming what was waited for.
    """
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline} s for {what}")
        time.sleep(0.02)
