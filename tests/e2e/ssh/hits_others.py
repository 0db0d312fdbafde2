"""Remote forwards by other clients, and around OpenSSH. Each one is pulled through."""

from __future__ import annotations

from tests.e2e.ssh.scenario import ARGV, CONFIG, USE, WIRE, Scenario, config, kinds
from tests.e2e.ssh.world import CLIENTS, PYTHON, SECRET_PORT, World

_DBCLIENT = "-y -y -N -i {key}.dropbear"
_PLINK = "-batch -hostkey {hostkey} -N -i {key}.ppk"


def _session(world: World) -> None:
    """A saved session of PuTTY's."""
    settings = {
        "HostName": "127.0.0.1",
        "PortNumber": "443",
        "UserName": "root",
        "Protocol": "ssh",
        "PublicKeyFile": f"{world.dir}/user_key.ppk",
        "SSHManualHostKeys": world.host_fingerprint,
        "PortForwardings": "R9173=127.0.0.1:8000",
    }
    world.file("home/.putty/sessions/box", "".join(f"{name}={value}\n" for name, value in settings.items()))


def _outside(world: World) -> None:
    world.start([PYTHON, str(CLIENTS / "asyncssh_outside.py")], PORT="8443", LISTEN="9188", TARGET=str(SECRET_PORT))
    world.reached(8443)


def _quiet_ssh(world: World) -> None:
    """An ssh for autossh that looks at none of its arguments."""
    text = f"#!/bin/sh\nexec env LD_PRELOAD={world.dir}/scrub.so SCRUB={world.dir}/scrubbed/autossh-scrubbed"
    world.file("quiet-ssh", f"{text} {world.dir}/worker1\n").chmod(0o755)


_AUTOSSH = (
    Scenario("autossh", "autossh -M 0 {options} -N -R {port}:{target} {to}", kinds(ARGV, WIRE, USE), 9150, sample=True),
    Scenario(
        "autossh-renamed",
        "{dir}/worker4 -M 0 -F {dir}/auto.conf -N box",
        kinds(CONFIG, WIRE, USE),
        9151,
        environment={"AUTOSSH_PATH": "{dir}/worker1"},
        prepare=config("auto.conf", "RemoteForward 9151 127.0.0.1:8000"),
    ),
    Scenario(
        "autossh-scrubbed",
        "{dir}/worker4 -M 0 x",
        kinds(WIRE, USE),
        9152,
        scrubbed="{ssh} -N -R {port}:{target} {to}",
        environment={"AUTOSSH_PATH": "{dir}/quiet-ssh"},
        prepare=_quiet_ssh,
    ),
)

_DROPBEAR = (
    Scenario(
        "dbclient",
        f"dbclient {_DBCLIENT} -p 443 -R {{port}}:{{target}} root@127.0.0.1",
        kinds(ARGV, WIRE, USE),
        9160,
        sample=True,
    ),
    Scenario(
        "dbclient-renamed",
        f"{{dir}}/worker2 {_DBCLIENT} -p 443 -R{{port}}:{{target}} root@127.0.0.1",
        kinds(ARGV, WIRE, USE),
        9161,
    ),
    Scenario(
        "dbclient-scrubbed",
        "{scrub} {dir}/worker2",
        kinds(WIRE, USE),
        9162,
        scrubbed=f"dbclient {_DBCLIENT} -p 443 -R {{port}}:{{target}} root@127.0.0.1",
        sample=True,
    ),
    Scenario(
        "dbclient-port-22",
        f"dbclient {_DBCLIENT} -R {{port}}:{{target}} root@127.0.0.1/2222",
        kinds(ARGV, WIRE, USE),
        9163,
    ),
)

_PUTTY = (
    Scenario(
        "plink",
        f"plink {_PLINK} -P 443 -R {{port}}:{{target}} root@127.0.0.1",
        kinds(ARGV, USE),
        9170,
        sample=True,
    ),
    Scenario(
        "plink-renamed",
        f"{{dir}}/worker3 {_PLINK} -P 443 root@127.0.0.1 -R {{port}}:{{target}}",
        kinds(ARGV, USE),
        9171,
    ),
    Scenario(
        "plink-scrubbed",
        "{scrub} {dir}/worker3",
        kinds(USE),
        9172,
        scrubbed=f"plink {_PLINK} -P 443 -R {{port}}:{{target}} root@127.0.0.1",
        sample=True,
    ),
    Scenario("plink-session", "plink -batch -N -load box", kinds(USE), 9173, prepare=_session),
)

_PYTHON = (
    Scenario("paramiko", "{python} {clients}/paramiko_forward.py", kinds(WIRE, USE), 9180, sample=True),
    Scenario(
        "paramiko-scrubbed",
        "bash -c 'PYTHONHOME={base} exec -a worker {python} - < {clients}/paramiko_forward.py'",
        kinds(WIRE, USE),
        9181,
    ),
    Scenario(
        "paramiko-argv", "{python} {clients}/paramiko_forward.py -R {port}:{target} box", kinds(ARGV, WIRE, USE), 9182
    ),
    Scenario("asyncssh", "{python} {clients}/asyncssh_forward.py", kinds(WIRE, USE), 9185, sample=True),
    Scenario(
        "asyncssh-scrubbed",
        "bash -c 'PYTHONHOME={base} exec -a worker {python} - < {clients}/asyncssh_forward.py'",
        kinds(WIRE, USE),
        9186,
    ),
    Scenario(
        "asyncssh-serves",
        "{python} {clients}/asyncssh_reverse.py",
        kinds(WIRE, USE),
        9188,
        environment={"PORT": "8443", "KEY": "{dir}/host_key"},
        prepare=_outside,
        sample=True,
    ),
)

HITS = (*_AUTOSSH, *_DROPBEAR, *_PUTTY, *_PYTHON)
