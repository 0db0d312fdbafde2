"""Remote forwards that hide: what shows them is what is left. Each one is pulled through."""

from __future__ import annotations

from rubicon.v1 import alert_pb2
from tests.e2e.ssh.scenario import ARGV, CONFIG, USE, WIRE, Scenario, config, kinds
from tests.e2e.ssh.world import CLIENTS, PYTHON, World

_MEDIUM = alert_pb2.SEVERITY_MEDIUM
_WORKER = "{scrub} {dir}/worker1"
_MASTER = "sh -c '{dir}/worker1 -F {dir}/%s -fN box; {scrub} {dir}/worker1; exec sleep 60'"


def tls(world: World) -> None:
    """The outside's TLS door is open."""
    if 8444 not in {local for local, _, _ in world.sockets("0A")}:
        world.start([PYTHON, str(CLIENTS / "tls_outside.py")], PORT="8444")
        world.reached(8444)


def _tls_config(world: World) -> None:
    tls(world)
    world.config("tls.conf", f"ProxyCommand {PYTHON} {CLIENTS}/tls_proxy.py 8444", "RemoteForward 9221 127.0.0.1:8000")


_SCRUBBED = (
    Scenario(
        "scrubbed-compression",
        _WORKER,
        kinds(WIRE, USE),
        9210,
        scrubbed="{ssh} -C -N -R {port}:{target} {to}",
    ),
    Scenario("scrubbed-dynamic", _WORKER, kinds(WIRE, USE), 9211, scrubbed="{ssh} -N -R {port} {to}", socks=True),
    Scenario(
        "scrubbed-unix-near",
        _WORKER,
        kinds(WIRE),
        9212,
        scrubbed="{ssh} -N -R {port}:{dir}/inside.sock {to}",
        severity=_MEDIUM,
    ),
    Scenario(
        "scrubbed-proxy-nc",
        _WORKER,
        kinds(USE),
        9213,
        scrubbed="{ssh} -N -R {port}:{target} '-oProxyCommand=nc %h %p' {to}",
        holder="nc",
        sample=True,
    ),
    Scenario(
        "scrubbed-proxy-jump",
        _WORKER,
        kinds(USE),
        9214,
        scrubbed="{ssh} -N -R {port}:{target} '-oProxyCommand={ssh} -p 2222 -W %h:%p root@127.0.0.1' {to}",
        holder="-W",
        sample=True,
    ),
    Scenario(
        "scrubbed-proxy-fdpass",
        _WORKER,
        kinds(WIRE, USE),
        9215,
        scrubbed="{ssh} -N -R {port}:{target} -oProxyUseFdpass=yes '-oProxyCommand={python} {clients}/fdpass.py' {to}",
        holder="worker1",
    ),
    Scenario(
        "scrubbed-master-unix",
        _MASTER % "silent.conf",
        kinds(WIRE),
        9216,
        scrubbed="ssh -F {dir}/silent.conf -O forward -R {port}:{dir}/inside.sock box",
        prepare=config("silent.conf", "ControlMaster auto", "ControlPath {dir}/silent"),
        severity=_MEDIUM,
    ),
    Scenario(
        "scrubbed-master-later",
        "sh -c '{dir}/worker1 -F {dir}/later.conf -fN box; {dir}/worker1 -F {dir}/later.conf box echo honest;"
        " {scrub} {dir}/worker1; exec sleep 60'",
        kinds(WIRE, USE),
        9217,
        scrubbed="ssh -F {dir}/later.conf -O forward -R {port}:{target} box",
        prepare=config("later.conf", "ControlMaster auto", "ControlPath {dir}/later"),
        sample=True,
    ),
)

_UNREAD = (
    Scenario(
        "unread-argv",
        "bash -c 'exec {ssh} -oSendEnv=$(head -c 20000 /dev/zero | tr \\\\0 a) -N -R {port}:{target} {to}'",
        kinds(WIRE, USE),
        9218,
    ),
    Scenario(
        "unread-config",
        "sh -c 'exec ssh -F /dev/stdin -N box < {dir}/stdin.conf'",
        kinds(WIRE, USE),
        9219,
        prepare=config("stdin.conf", "RemoteForward 9219 127.0.0.1:8000"),
    ),
)

_LEFT = (
    Scenario(
        "left-cgroup",
        "sh -c 'echo $$ > {cgroups}/cgroup.procs; exec {ssh} -N -R {port}:{target} {to}'",
        kinds(ARGV, WIRE, USE),
        9222,
    ),
)

_TLS = (
    Scenario(
        "tls-argv",
        "{ssh} -N -R {port}:{target} '-oProxyCommand={python} {clients}/tls_proxy.py 8444' {to}",
        kinds(ARGV),
        9220,
        prepare=tls,
        outbound=False,
        holder="tls_proxy",
        sample=True,
    ),
    Scenario(
        "tls-config",
        "ssh -F {dir}/tls.conf -N box",
        kinds(CONFIG),
        9221,
        prepare=_tls_config,
        outbound=False,
        holder="tls_proxy",
    ),
)

_HASTY = (
    Scenario("hasty-openssh", "{ssh} -N -R {port}:{target} {to}", kinds(ARGV, WIRE, USE), 9230, hasty=True),
    Scenario(
        "hasty-config",
        "ssh -F {dir}/hasty.conf -N box",
        kinds(CONFIG, WIRE, USE),
        9231,
        hasty=True,
        prepare=config("hasty.conf", "RemoteForward 9231 127.0.0.1:8000"),
    ),
    Scenario(
        "hasty-dbclient",
        "{scrub} dbclient",
        kinds(WIRE, USE),
        9232,
        hasty=True,
        scrubbed="dbclient -y -y -N -i {key}.dropbear -p 443 -R {port}:{target} root@127.0.0.1",
    ),
    Scenario(
        "hasty-plink",
        "{scrub} plink",
        kinds(USE),
        9233,
        hasty=True,
        scrubbed="plink -batch -hostkey {hostkey} -N -i {key}.ppk -P 443 -R {port}:{target} root@127.0.0.1",
    ),
    Scenario("hasty-paramiko", "{python} {clients}/paramiko_forward.py", kinds(USE), 9234, hasty=True, sample=True),
    Scenario("hasty-asyncssh", "{python} {clients}/asyncssh_forward.py", kinds(WIRE, USE), 9235, hasty=True),
)

_OWN = (
    Scenario("own-waits", "{python} {clients}/paramiko_own.py wait", kinds(USE), 9240, hasty=True, chatty=True),
    Scenario("own-child", "{python} {clients}/paramiko_own.py child", kinds(USE), 9241, hasty=True, chatty=True),
)

HITS = (*_SCRUBBED, *_UNREAD, *_LEFT, *_TLS, *_HASTY, *_OWN)
