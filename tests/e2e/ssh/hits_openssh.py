"""Remote forwards by OpenSSH. Each one is pulled through."""

from __future__ import annotations

from tests.e2e.ssh.scenario import ARGV, CONFIG, USE, WIRE, Scenario, config, kinds
from tests.e2e.ssh.world import World

_FORWARD = "RemoteForward {} 127.0.0.1:8000"

SPELLINGS = {
    "attached": "{ssh} -N -R{port}:{target} {to}",
    "cluster": "{ssh} -NTR {port}:{target} {to}",
    "cluster-attached": "{ssh} -vNTqR{port}:{target} {to}",
    "after-the-host": "{ssh} {to} -N -R {port}:{target}",
    "terminated": "{ssh} -N -p 443 -R {port}:{target} -- root@127.0.0.1",
    "url": "{ssh} -N -R {port}:{target} ssh://root@127.0.0.1:443",
    "variable": "{ssh} -N -R ${{FORWARD}} {to}",
    "address": "{ssh} -N -R *:{port}:localhost:8000 {to}",
    "option-words": "{ssh} -N -o 'remoteforward  {port} {target}' {to}",
    "option-quoted": "{ssh} -N '-oREMOTEFORWARD = \"{port}\" {target}' {to}",
    "two": "{ssh} -N -R 9300:127.0.0.1:1 -R {port}:{target} {to}",
}
CIPHERS = {
    "gcm": "-c aes128-gcm@openssh.com",
    "etm": "-c aes256-ctr -m hmac-sha2-256-etm@openssh.com",
    "mac": "-c aes128-ctr -m hmac-sha2-512",
    "sha1": "-c aes192-ctr -m hmac-sha1",
    "umac": "-c aes256-ctr -m umac-64-etm@openssh.com",
}
GATE = (
    "Host gate",
    "HostName 127.0.0.1",
    "Port 2222",
    "User root",
    "IdentityFile {dir}/user_key",
    "StrictHostKeyChecking no",
    "UserKnownHostsFile /dev/null",
)


def _home(world: World) -> None:
    """A forward in a file that ~/.ssh/config includes for one host and user."""
    world.config("home/.ssh/inner", _FORWARD.format(9130))
    world.file(
        "home/.ssh/config",
        "Host unrelated\n  RemoteForward 1 h:1\nMatch localuser root\n  Include inner\nMatch user nobody\n"
        "  RemoteForward 2 h:2\n",
    )


_ARGV = (
    Scenario("openssh-argv", "{ssh} -N -R {port}:{target} {to}", kinds(ARGV, WIRE, USE), 9100, sample=True),
    *(
        Scenario(f"openssh-argv-{name}", command, kinds(ARGV, WIRE, USE), 9101 + number)
        for number, (name, command) in enumerate(SPELLINGS.items())
    ),
    *(
        Scenario(
            f"openssh-{name}",
            f"{{ssh}} {options} {{to}} -R {{port}}:{{target}} 'exec sleep 60'",
            kinds(ARGV, WIRE, USE),
            9115 + number,
            sample=name == "gcm",
        )
        for number, (name, options) in enumerate(CIPHERS.items())
    ),
    Scenario("openssh-compression", "{ssh} -CN -R {port}:{target} {to}", kinds(ARGV), 9121),
    Scenario(
        "openssh-background",
        "sh -c '{ssh} -fN -R {port}:{target} {to}; exec sleep 60'",
        kinds(ARGV, WIRE, USE),
        9122,
        holder="-fN",
        sample=True,
    ),
    Scenario("openssh-dynamic", "{ssh} -N -R {port} {to}", kinds(ARGV, WIRE), 9123, socks=True, sample=True),
    Scenario("openssh-dynamic-option", "{ssh} -N -oRemoteForward={port} {to}", kinds(ARGV, WIRE), 9124, socks=True),
    Scenario(
        "openssh-unix-far", "{ssh} -N -R {dir}/far.sock:{target} {to}", kinds(ARGV, WIRE, USE), unix="{dir}/far.sock"
    ),
    Scenario("openssh-unix-near", "{ssh} -N -R {port}:{dir}/inside.sock {to}", kinds(ARGV, WIRE), 9125, sample=True),
    Scenario(
        "openssh-unix-both",
        "{ssh} -N -R {dir}/both.sock:{dir}/inside.sock {to}",
        kinds(ARGV, WIRE),
        unix="{dir}/both.sock",
    ),
    Scenario("openssh-renamed", "{dir}/worker1 {options} -N -R {port}:{target} {to}", kinds(ARGV, WIRE, USE), 9126),
    Scenario(
        "openssh-scrubbed",
        "{scrub} {dir}/worker1",
        kinds(WIRE, USE),
        9127,
        scrubbed="{ssh} -N -R {port}:{target} {to}",
        holder="worker1",
        sample=True,
    ),
)

_CONFIG = (
    Scenario("openssh-config-home", "ssh -N box", kinds(CONFIG, WIRE, USE), 9130, prepare=_home, sample=True),
    Scenario(
        "openssh-config-renamed",
        "{dir}/worker1 -F {dir}/renamed.conf -N box",
        kinds(CONFIG, WIRE, USE),
        9131,
        prepare=config("renamed.conf", _FORWARD.format(9131)),
        sample=True,
    ),
    Scenario(
        "openssh-config-scrubbed",
        "{scrub} {dir}/worker1",
        kinds(WIRE, USE),
        9132,
        scrubbed="ssh -F {dir}/scrubbed.conf -N box",
        prepare=config("scrubbed.conf", _FORWARD.format(9132)),
    ),
    Scenario(
        "openssh-config-match",
        "ssh -F {dir}/match.conf -N box",
        kinds(CONFIG, WIRE, USE),
        9133,
        prepare=config("match.conf", "Match originalhost b?x user root", _FORWARD.format(9133)),
    ),
    Scenario(
        "openssh-config-match-exec",
        "{dir}/worker1 -F {dir}/exec.conf -N box",
        kinds(CONFIG, WIRE, USE),
        9134,
        prepare=config("exec.conf", "Match exec true", _FORWARD.format(9134)),
        sample=True,
    ),
    Scenario(
        "openssh-config-dynamic",
        "ssh -F {dir}/dynamic.conf -N box",
        kinds(CONFIG, WIRE),
        9135,
        socks=True,
        prepare=config("dynamic.conf", "RemoteForward 9135"),
    ),
)

_THROUGH = (
    Scenario(
        "openssh-master",
        "sh -c '{ssh} -M -S {dir}/ctl -fN {to}; {ssh} -S {dir}/ctl -O forward -R {port}:{target} x; exec sleep 60'",
        kinds(ARGV, WIRE, USE),
        9140,
        holder="-M",
        sample=True,
    ),
    Scenario(
        "openssh-master-renamed",
        "sh -c '{dir}/worker1 -F {dir}/master.conf -fN box;"
        " {dir}/worker1 -F {dir}/master.conf -O forward -R {port}:{target} box; exec sleep 60'",
        kinds(ARGV, USE),
        9141,
        holder="-fN",
        prepare=config("master.conf", "ControlMaster auto", "ControlPath {dir}/%C"),
    ),
    Scenario(
        "openssh-master-scrubbed",
        "sh -c '{dir}/worker1 -F {dir}/quiet.conf -fN box; {scrub} {dir}/worker1; exec sleep 60'",
        kinds(USE),
        9142,
        scrubbed="ssh -F {dir}/quiet.conf -O forward -R {port}:{target} box",
        holder="-fN",
        prepare=config("quiet.conf", "ControlMaster auto", "ControlPath {dir}/quiet-%h"),
    ),
    Scenario(
        "openssh-master-shared",
        "sh -c '{ssh} -M -S {dir}/shared -fN {to}; exec {ssh} -S {dir}/shared -N -R {port}:{target} root@127.0.0.1'",
        kinds(ARGV, USE),
        9143,
        holder="-M",
    ),
    Scenario(
        "openssh-master-config",
        "sh -c 'ssh -F {dir}/first.conf -fN box; exec ssh -F {dir}/second.conf -N box'",
        kinds(CONFIG, USE),
        9144,
        holder="first.conf",
        prepare=lambda world: (
            world.config("first.conf", "ControlMaster yes", "ControlPath {dir}/two"),
            world.config("second.conf", "ControlPath {dir}/two", _FORWARD.format(9144)),
        ),
        sample=True,
    ),
    Scenario(
        "openssh-persist",
        "sh -c '{ssh} -oControlMaster=auto -oControlPersist=60 -S {dir}/persist -R {port}:{target} {to} true;"
        " exec sleep 60'",
        kinds(ARGV, USE),
        9145,
    ),
    Scenario(
        "openssh-proxy-command",
        "{ssh} -N -R {port}:{target} -o 'ProxyCommand={ssh} -p 2222 -W %h:%p root@127.0.0.1' {to}",
        kinds(ARGV),
        9146,
        holder="-W",
        sample=True,
    ),
    Scenario(
        "openssh-proxy-jump",
        "{dir}/worker1 -F {dir}/jump.conf -N -R {port}:{target} box",
        kinds(ARGV),
        9147,
        holder="-W",
        prepare=config("jump.conf", "ProxyJump gate", *GATE),
    ),
    Scenario(
        "openssh-proxy-nc",
        "{ssh} -N -R {port}:{target} -o 'ProxyCommand=nc %h %p' {to}",
        kinds(ARGV),
        9148,
        holder="nc",
    ),
    Scenario(
        "openssh-proxy-fdpass",
        "{ssh} -N -R {port}:{target} -oProxyUseFdpass=yes -o 'ProxyCommand={python} {clients}/fdpass.py' {to}",
        kinds(ARGV, WIRE),
        9149,
        holder="ProxyUseFdpass",
    ),
)

HITS = (*_ARGV, *_CONFIG, *_THROUGH)
