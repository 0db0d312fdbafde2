"""Honest work over SSH, and honest connections that live long. Nothing above info."""

from __future__ import annotations

from tests.e2e.ssh import hits_hidden
from tests.e2e.ssh.hits_openssh import GATE
from tests.e2e.ssh.scenario import Scenario, config
from tests.e2e.ssh.world import World, run

_GIT = "git -c core.sshCommand='{ssh} -p 443'"


def _repository(world: World) -> None:
    """A repository that is behind its origin."""
    origin, clone = world.dir / "origin.git", world.dir / "clone"
    me = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    run("git", "init", "-q", "--bare", "-b", "main", origin)
    run("git", "clone", "-q", origin, clone)
    for number in range(20):
        (clone / "file").write_text(f"{number}\n" * 500)
        run("git", "add", "file", cwd=clone)
        run("git", *me, "commit", "-q", "-m", str(number), cwd=clone)
    run("git", "push", "-q", "origin", "HEAD:main", cwd=clone)
    run("git", "init", "-q", world.dir / "behind")


def _known_hosts(world: World) -> None:
    """One of the server's two keys is known: the client asks it to prove that the other one is its as well."""
    world.file("known_hosts", "[127.0.0.1]:443 " + (world.dir / "host_key.pub").read_text())


MISSES = (
    Scenario("command", "{ssh} {to} 'echo hello; head -c 100000 /dev/zero'", sample=True),
    Scenario("command-gcm", "{ssh} -c aes128-gcm@openssh.com {to} 'echo hello; head -c 100000 /dev/zero'"),
    Scenario("command-input", "sh -c 'seq 20000 | {ssh} {to} cat'"),
    Scenario("terminal", "sh -c '(echo ls /; echo exit) | {ssh} -tt {to}'"),
    Scenario("no-command", "timeout 1 {ssh} -N {to}"),
    Scenario("keepalive", "timeout 3 {ssh} -N -oServerAliveInterval=1 {to}", sample=True),
    Scenario(
        "host-keys",
        "{ssh} -oUserKnownHostsFile={dir}/known_hosts -oUpdateHostKeys=yes {to} 'echo hello; sleep 0.2'",
        prepare=_known_hosts,
    ),
    Scenario("scp", "scp {options} -P 443 /etc/services root@127.0.0.1:{dir}/copied", sample=True),
    Scenario("scp-legacy", "scp -O {options} -P 443 root@127.0.0.1:/etc/services {dir}/fetched"),
    Scenario("scp-flags", "scp -prC {options} -P 443 /etc/ssh root@127.0.0.1:{dir}/folder"),
    Scenario("sftp", "sftp {options} -P 443 root@127.0.0.1:/etc/services {dir}/got", sample=True),
    Scenario(
        "rsync", "rsync -aR -e '{ssh} -p 443' /etc/services /etc/passwd root@127.0.0.1:{dir}/synced/", sample=True
    ),
    Scenario("git-clone", f"{_GIT} clone -q root@127.0.0.1:{{dir}}/origin.git {{dir}}/cloned", prepare=_repository),
    Scenario("git-fetch", f"{_GIT} -C {{dir}}/behind fetch -q root@127.0.0.1:{{dir}}/origin.git main", sample=True),
    Scenario("local-forward", "{ssh} -N -L {port}:{target} {to}", port=9201, sample=True),
    Scenario("local-unix", "{ssh} -N -L {dir}/local.sock:{target} {to}", unix="{dir}/local.sock"),
    Scenario("dynamic-forward", "{ssh} -N -D {port} {to}", port=9202, socks=True, sample=True),
    Scenario(
        "dbclient-local", "dbclient -y -y -N -i {key}.dropbear -p 443 -L {port}:{target} root@127.0.0.1", port=9203
    ),
    Scenario(
        "plink-local",
        "plink -batch -hostkey {hostkey} -N -P 443 -i {key}.ppk -L {port}:{target} root@127.0.0.1",
        port=9204,
    ),
    Scenario(
        "plink-dynamic",
        "plink -batch -hostkey {hostkey} -N -P 443 -i {key}.ppk -D {port} root@127.0.0.1",
        port=9205,
        socks=True,
    ),
    Scenario("asyncssh-local", "{python} {clients}/asyncssh_local.py", port=9206),
    Scenario(
        "config-local",
        "ssh -F {dir}/local.conf -N box",
        port=9207,
        prepare=config("local.conf", "LocalForward 9207 127.0.0.1:8000", "Host other", "RemoteForward 1 h:1"),
    ),
    Scenario("jump", "{ssh} {to} -o 'ProxyCommand={ssh} -p 2222 -W %h:%p root@127.0.0.1' 'echo hello'", sample=True),
    Scenario("jump-option", "ssh -F {dir}/gate.conf -J gate box 'echo hello'", prepare=config("gate.conf", *GATE)),
    Scenario("stdio-forward", "sh -c 'echo please | timeout 1 {ssh} -W {target} {to}'"),
    Scenario(
        "agent-forwarding",
        "ssh-agent sh -c 'ssh-add -q {key}; {ssh} -A {to} \"ssh-add -l; ssh-add -l; ssh-add -L\"'",
        sample=True,
    ),
    Scenario(
        "master",
        "sh -c '{ssh} -M -S {dir}/honest -fN {to}; for i in 1 2 3; do {ssh} -S {dir}/honest x echo hello; done;"
        " {ssh} -S {dir}/honest -O check x; {ssh} -S {dir}/honest -O exit x'",
        sample=True,
    ),
    Scenario(
        "tls",
        "{ssh} '-oProxyCommand={python} {clients}/tls_proxy.py 8444' {to} 'echo hello'",
        prepare=hits_hidden.tls,
        outbound=False,
    ),
    Scenario("clear", "{ssh} -oClearAllForwardings=yes -R 9000:h:80 {to} true"),
    Scenario("dbclient-command", "dbclient -y -y -i {key}.dropbear -p 443 root@127.0.0.1 'echo hello'"),
    Scenario("plink-command", "plink -batch -hostkey {hostkey} -P 443 -i {key}.ppk root@127.0.0.1 'echo hello'"),
    Scenario("psftp", "sh -c 'echo ls | psftp -batch -hostkey {hostkey} -P 443 -i {key}.ppk root@127.0.0.1'"),
    Scenario("paramiko-reports", "{python} {clients}/paramiko_command.py", sample=True),
    Scenario("paramiko-busy", "{python} {clients}/paramiko_busy.py", sample=False),
    Scenario("paramiko-sftp", "{python} {clients}/paramiko_sftp.py"),
    Scenario("asyncssh-fleet", "{python} {clients}/asyncssh_fleet.py"),
    Scenario("long-lived", "{python} {clients}/long_lived.py", outbound=False, sample=True),
    Scenario("queue-worker", "{python} {clients}/queue_worker.py", outbound=False),
    Scenario("grep", "sh -c 'grep -R 9000:127.0.0.1:80 {dir}/home; chown -R 0:0 {dir}/user_key'", outbound=False),
)
