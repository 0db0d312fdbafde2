"""What agents do: each scenario is a real client, run as an agent in the world's network namespace.

`{…}` in words stands for the world's things; see `Scenario.words`. A hit forwards real bytes: `pull` says through what.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.ssh.world import HERE, PYTHON, SECRET_PORT, World

SAMPLES = HERE.parents[1] / "controlplane/detectors"
CLIENTS = HERE / "clients"
ANY = frozenset(("argv", "config", "wire", "behaviour"))


@dataclass(frozen=True)
class Scenario:
    """One run. `name` is also the sample's."""

    name: str
    command: str
    """Shell words; SSH stands for `ssh` with the world's options."""
    kinds: frozenset[str] = frozenset()
    """Kinds of evidence that must be there, at least; empty for a miss."""
    port: int = 0
    """Where the tunnel is pulled through; 0 for none."""
    socks: bool = False
    unix: str = ""
    pull_first: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[World], None] | None = None
    outbound: bool = True
    """ssh-outbound is expected."""
    holder: str = ""
    """Part of the argv of the process that the alert names."""
    sample: bool = True
    """Recorded as a sample for the detectors' tests."""

    @property
    def hit(self) -> bool:
        return bool(self.kinds)

    def words(self, world: World) -> list[str]:
        """The command with everything put in."""
        values = {
            "dir": world.dir,
            "key": world.dir / "user_key",
            "hostkey": world.host_fingerprint,
            "python": PYTHON,
            "clients": CLIENTS,
            "port": self.port,
            "target": f"127.0.0.1:{SECRET_PORT}",
            "ssh": "ssh " + shlex.join(world.options),
            "options": shlex.join(world.options),
        }
        return shlex.split(self.command.format(**values))

    def env(self, world: World) -> dict[str, str]:
        """Environment of the agent."""
        common = {
            "KEY": str(world.dir / "user_key"),
            "TARGET": str(SECRET_PORT),
            "LISTEN": str(self.port),
            "PORT": "443",
        }
        return {**common, **{name: value.format(dir=world.dir) for name, value in self.environment.items()}}


def _home(world: World) -> None:
    home = world.dir / "home"
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    world.config("home.conf", "RemoteForward 9104 127.0.0.1:8000")
    (world.dir / "home.conf").replace(home / ".ssh/inner")
    (home / ".ssh/config").write_text("Host unrelated\n  RemoteForward 1 h:1\nHost *\n  Include inner\n")


def _repository(world: World) -> None:
    import subprocess

    path = world.dir / "repository"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(path)]
    subprocess.run(["git", "init", "-q", "--bare", str(world.dir / "origin.git")], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*git, "push", "-q", str(world.dir / "origin.git"), "main"], check=True)


def _outside(world: World) -> None:
    world.start([PYTHON, str(CLIENTS / "asyncssh_outside.py")], PORT="8443", LISTEN="9120", TARGET=str(SECRET_PORT))
    world.reached(8443)


def _config(*lines: str) -> Callable[[World], None]:
    return lambda world: (world.config("forward.conf", *lines), world.renamed("ssh", "worker"), None)[-1]


ARGV, CONFIG, WIRE, USE = "argv", "config", "wire", "behaviour"


def _all(*kinds: str) -> frozenset[str]:
    return frozenset(kinds)


HITS = (
    Scenario("openssh-argv", "{ssh} -N -R {port}:{target} -p 443 root@127.0.0.1", _all(ARGV, WIRE, USE), 9101),
    Scenario(
        "openssh-session",
        "{ssh} -c aes128-gcm@openssh.com -p 443 root@127.0.0.1 -R{port}:{target} 'sleep 60'",
        _all(ARGV, WIRE, USE),
        9102,
    ),
    Scenario(
        "openssh-renamed-config",
        "{dir}/worker -F {dir}/forward.conf -N box",
        _all(CONFIG, WIRE, USE),
        9103,
        prepare=_config("RemoteForward 9103 127.0.0.1:8000"),
    ),
    Scenario(
        "openssh-home-config",
        "unshare -m sh -c 'mount --bind {dir}/home /root && exec ssh -N box'",
        _all(CONFIG, WIRE, USE),
        9104,
        prepare=_home,
        holder="ssh",
    ),
    Scenario(
        "openssh-background",
        "sh -c '{ssh} -fN -R {port}:{target} -p 443 root@127.0.0.1; exec sleep 60'",
        _all(ARGV, USE),
        9105,
    ),
    Scenario(
        "openssh-control-master",
        "sh -c '{ssh} -M -S {dir}/ctl -fN -p 443 root@127.0.0.1;"
        " {ssh} -S {dir}/ctl -O forward -R {port}:{target} root@127.0.0.1; exec sleep 60'",
        _all(ARGV, USE),
        9106,
        holder="-M",
    ),
    Scenario(
        "openssh-dynamic", "{ssh} -N -oRemoteForward={port} -p 443 root@127.0.0.1", _all(ARGV, WIRE), 9107, socks=True
    ),
    Scenario(
        "openssh-unix-far",
        "{ssh} -N -R {dir}/far.sock:{target} -p 443 root@127.0.0.1",
        _all(ARGV, USE),
        unix="{dir}/far.sock",
        sample=False,
    ),
    Scenario(
        "openssh-unix-near",
        "{ssh} -N -R {port}:{dir}/inside.sock -p 443 root@127.0.0.1",
        _all(ARGV, WIRE),
        9109,
        sample=False,
    ),
    Scenario(
        "openssh-jump",
        "{ssh} -N -R {port}:{target} -p 443 -o 'ProxyCommand={ssh} -p 2222 -W %h:%p root@127.0.0.1' root@127.0.0.1",
        _all(ARGV),
        9110,
        holder="-W",
    ),
    Scenario(
        "openssh-match-exec",
        "{dir}/worker -F {dir}/forward.conf -N box",
        _all(CONFIG, WIRE, USE),
        9111,
        prepare=lambda world: (
            world.config("forward.conf", "Match exec true", "RemoteForward 9111 127.0.0.1:8000"),
            world.renamed("ssh", "worker"),
            None,
        )[-1],
        sample=False,
    ),
    Scenario(
        "autossh",
        "autossh -M 0 {options} -N -R {port}:{target} -p 443 root@127.0.0.1",
        _all(ARGV, WIRE, USE),
        9112,
    ),
    Scenario(
        "dbclient",
        "dbclient -y -y -N -i {key}.dropbear -p 443 -R {port}:{target} root@127.0.0.1",
        _all(ARGV, USE),
        9113,
    ),
    Scenario(
        "plink",
        "plink -batch -hostkey {hostkey} -N -P 443 -i {key}.ppk -R {port}:{target} root@127.0.0.1",
        _all(ARGV, USE),
        9114,
    ),
    Scenario("paramiko", "{python} {clients}/paramiko_forward.py", _all(USE), 9115),
    Scenario("asyncssh", "{python} {clients}/asyncssh_forward.py", _all(USE), 9116),
    Scenario(
        "asyncssh-serves",
        "{python} {clients}/asyncssh_reverse.py",
        _all(WIRE),
        9120,
        environment={"PORT": "8443", "KEY": "{dir}/host_key"},
        prepare=_outside,
    ),
)

MISSES = (
    Scenario("command", "{ssh} -p 443 root@127.0.0.1 'echo hello; sleep 0.3; echo bye'"),
    Scenario("keepalive", "timeout 3 {ssh} -N -oServerAliveInterval=1 -p 443 root@127.0.0.1"),
    Scenario("scp", "scp {options} -P 443 /etc/services root@127.0.0.1:{dir}/copied"),
    Scenario("scp-legacy", "scp -O {options} -P 443 root@127.0.0.1:/etc/services {dir}/fetched", sample=False),
    Scenario("sftp", "sftp {options} -P 443 root@127.0.0.1:/etc/services {dir}/got"),
    Scenario("rsync", "rsync -aR -e '{ssh} -p 443' /etc/services /etc/passwd root@127.0.0.1:{dir}/synced/"),
    Scenario(
        "git-fetch",
        "git -c core.sshCommand='{ssh} -p 443' -C {dir}/repository fetch root@127.0.0.1:{dir}/origin.git main",
        prepare=_repository,
    ),
    Scenario("local-forward", "{ssh} -N -L {port}:{target} -p 443 root@127.0.0.1", port=9201),
    Scenario("dynamic-forward", "{ssh} -N -D {port} -p 443 root@127.0.0.1", port=9202, socks=True),
    Scenario(
        "jump", "{ssh} -p 443 -o 'ProxyCommand={ssh} -p 2222 -W %h:%p root@127.0.0.1' root@127.0.0.1 'echo hello'"
    ),
    Scenario(
        "agent-forwarding",
        "ssh-agent sh -c 'ssh-add -q {key}; {ssh} -A -p 443 root@127.0.0.1 \"ssh-add -l; ssh-add -l; ssh-add -L\"'",
    ),
    Scenario("paramiko-reports", "{python} {clients}/paramiko_command.py"),
    Scenario("dbclient-command", "dbclient -y -y -i {key}.dropbear -p 443 root@127.0.0.1 'echo hello'", sample=False),
    Scenario(
        "plink-command",
        "plink -batch -hostkey {hostkey} -P 443 -i {key}.ppk root@127.0.0.1 'echo hello'",
        sample=False,
    ),
    Scenario("long-lived", "{python} {clients}/long_lived.py", outbound=False),
    Scenario("grep", "sh -c 'grep -R 9000:127.0.0.1:80 {dir} >/dev/null; chown -R 0:0 {dir}/user_key'", outbound=False),
)


def sample_path(module: str, scenario: Scenario, *, hit: bool) -> Path:
    """Where a scenario's sample for a detector's module stands."""
    return SAMPLES / module / f"{'hit' if hit else 'miss'}-{scenario.name}.jsonl"
