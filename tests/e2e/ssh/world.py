"""A small world for real SSH: namespaces of its own with real servers, keys of its own, and something worth forwarding
to.

Everything lives in one temporary folder, one network and one mount namespace. A keeper process holds them; all three,
and every process inside, are gone when the world closes, and when the test dies. Nothing of the host's SSH
configuration, keys or ports is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SSHD_PORTS = (443, 2222)
SECRET_PORT = 8000
SECRET = b"the inside of the house " * 2000
PYTHON = sys.executable
HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
SITE_PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))
_SSHD = """
ListenAddress 127.0.0.1
HostKey {dir}/host_key
HostKey {dir}/host_rsa
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
AllowAgentForwarding yes
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
GatewayPorts clientspecified
X11Forwarding yes
MaxStartups 100
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
LogLevel ERROR
"""


class World:
    """Real sshd on ports 443 and 2222 and a small secret server on 8000 and a Unix socket, all on 127.0.0.1 of an own
    namespace."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="rubicon-ssh-"))
        self.dir.chmod(0o755)
        self._keeper: subprocess.Popen[bytes] | None = None

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
        self._keeper = subprocess.Popen(
            [PYTHON, str(HERE / "keeper.py"), str(self.dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._keeper.stdout
        assert self._keeper.stdout.readline() == b"ready\n"
        self._keys()
        self._programs()
        self.start([PYTHON, str(HERE / "secret_server.py"), str(SECRET_PORT), str(self.dir / "inside.sock")])
        config = self.dir / "sshd_config"
        ports = "\n".join(f"Port {port}" for port in SSHD_PORTS)
        config.write_text(ports + _SSHD.format(dir=self.dir))
        self.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])
        for port in (*SSHD_PORTS, SECRET_PORT):
            self.reached(port)

    @property
    def keeper(self) -> int:
        """Pid of the process that holds the namespaces."""
        assert self._keeper
        return self._keeper.pid

    @property
    def enter(self) -> list[str]:
        """Prefix that runs a command in the world's namespaces."""
        return ["nsenter", f"--net=/proc/{self.keeper}/ns/net", f"--mount=/proc/{self.keeper}/ns/mnt"]

    def watch(self, pid: int = 0, instance: str = "") -> None:
        """Names the sensor that the keeper ends if the test cannot; without arguments, none any more."""
        assert self._keeper
        assert self._keeper.stdin
        self._keeper.stdin.write(f"{pid} {instance}\n".encode() if pid else b"\n")
        self._keeper.stdin.flush()

    def _keys(self) -> None:
        """Host key, and one user key in each client's format."""
        for name, kind in (("host_key", ["ed25519"]), ("user_key", ["ed25519"]), ("host_rsa", ["rsa", "-b", "2048"])):
            run("ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "", "-f", self.dir / name)
        shutil.copy(self.dir / "user_key.pub", self.dir / "authorized_keys")
        run("dropbearconvert", "openssh", "dropbear", self.dir / "user_key", self.dir / "user_key.dropbear")
        run("puttygen", self.dir / "user_key", "-O", "private", "-o", self.dir / "user_key.ppk")
        self.host_fingerprint = run("ssh-keygen", "-l", "-E", "sha256", "-f", self.dir / "host_key.pub").split()[1]

    def _programs(self) -> None:
        """The clients under names that tell nothing, and what hides a client's arguments."""
        for number, program in enumerate(("ssh", "dbclient", "plink", "autossh"), 1):
            found = shutil.which(program)
            assert found, f"{program} is not installed: deploy/dependencies.sh test"
            shutil.copy(found, self.dir / f"worker{number}")
        run("gcc", "-shared", "-fPIC", "-O1", "-o", self.dir / "scrub.so", CLIENTS / "scrub.c")

    def start(self, command: Sequence[str], **environment: str) -> None:
        """Starts a server in the world; it ends with it."""
        with (self.dir / "servers.log").open("ab") as log:
            subprocess.Popen(
                ["setsid", "--fork", *self.enter, *command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            ).wait()

    def reached(self, port: int) -> None:
        """Waits until something listens there."""
        wait(lambda: port in {local for local, _, _ in self.sockets("0A")}, f"port {port}")

    def sockets(self, state: str) -> list[tuple[int, int, int]]:
        """(local port, remote port, inode) of the world's TCP sockets in a state, as /proc/net/tcp names it."""
        found = []
        for family in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.keeper}/net/{family}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state:
                    local, remote = (int(fields[at].rpartition(":")[2], 16) for at in (1, 2))
                    found.append((local, remote, int(fields[9])))
        return found

    def pull(self, where: int | str, *, socks: int = 0, chatty: bool = False, seconds: float = 20.0) -> bytes:
        """What comes back through a forwarded port or socket, asked again until the far end listens; the outside's
        side.

        With `socks` the port speaks SOCKS5 and that port of 127.0.0.1 is asked for; `chatty` talks in small messages
        before.
        """
        words = [str(HERE / "puller.py"), str(where), str(seconds), str(socks), str(int(chatty))]
        command = [*self.enter, PYTHON, "-I", "-S", *words]
        return subprocess.run(command, capture_output=True, timeout=seconds + 10).stdout

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

    def config(self, path: str, *lines: str) -> Path:
        """A client's configuration file, with `lines` after a block for Host `box` (port 443) and before its end; the
        path is relative to the world's folder."""
        common = ("HostName 127.0.0.1", "Port 443", "User root", f"IdentityFile {self.dir}/user_key", "BatchMode yes")
        quiet = ("StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR")
        text = "\n  ".join(("Host box", *common, *quiet, *lines)) + "\n"
        return self.file(path, text.replace("{dir}", str(self.dir)))

    def file(self, path: str, text: str) -> Path:
        """A file in the world's folder."""
        file = self.dir / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
        return file

    def close(self) -> None:
        """Ends everything in the namespaces and removes the folder."""
        if self._keeper is None:
            shutil.rmtree(self.dir, ignore_errors=True)
            return
        assert self._keeper.stdin
        assert self._keeper.stdout
        self._keeper.stdin.close()
        self._keeper.wait(30)
        self._keeper.stdout.close()


def run(*command: object, cwd: Path | None = None) -> str:
    """Runs a command that must succeed; what it printed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def wait(condition: Callable[[], object], what: str, deadline: float = 15.0) -> Any:
    """Polls until the condition holds, and returns what it gave.

    Raises:
        TimeoutError: it never did, naming what was waited for.
    """
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline} s for {what}")
        time.sleep(0.01)
    return found
