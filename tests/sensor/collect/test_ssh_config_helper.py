"""The helper that reads ssh_config files: what it takes from them, and what it never does. As root it is run whole,
rights dropped."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sensor.collect import ssh_config_helper
from sensor.collect.ssh_config_read import match_criteria
from sensor.collect.ssh_config_root import FILE_BYTES
from sensor.collect.ssh_config_words import arguments, split_line

HELPER = Path(ssh_config_helper.__file__)
UID = 61234 if os.geteuid() == 0 else os.getuid()
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An agent's root with one user, u."""
    tmp_path.chmod(0o755)
    for folder in ("etc/ssh/ssh_config.d", "home/u/.ssh/conf.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\nu:x:{UID}:{UID}::/home/u:/bin/sh\n")
    return tmp_path


@pytest.fixture
def ask(root: Path) -> Ask:
    """Runs the helper on arguments, as the sensor does."""
    spec = importlib.util.find_spec("paramiko")
    assert spec is not None
    assert spec.origin is not None

    def run(*argv: str, cwd: str = "/home/u", uid: int = UID, timeout: float = 10) -> dict[str, Any]:
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{UID}:{UID}", str(root / "home")], check=True)
        descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
        request = {"argv": argv, "cwd": cwd, "uid": uid, "gid": UID, "groups": [UID], "root": descriptor}
        request |= {"library": str(Path(spec.origin or "").parents[1]), "here": str(HELPER.parents[2])}
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", str(HELPER)],
                input=json.dumps(request).encode(),
                capture_output=True,
                pass_fds=(descriptor,),
                env={},
                timeout=timeout,
            )
        finally:
            os.close(descriptor)
        assert done.returncode == 0, done.stderr.decode()
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply

    return run


def user(root: Path, text: str, name: str = "config") -> None:
    path = root / "home/u/.ssh" / name
    path.write_text(text)
    path.chmod(0o600)


def test_nothing_configured(ask: Ask) -> None:
    reply = ask("ssh", "x")
    assert (reply["host"], reply["remote_forwards"], reply["files"], reply["error"]) == ("x", [], [], "")


def test_user_and_system_files_count_together(root: Path, ask: Ask) -> None:
    user(root, "Host x\n  RemoteForward 9000 h:80\n  RemoteForward=9001 /run/s\nHost *\n  remoteforward 9002 h:82\n")
    (root / "etc/ssh/ssh_config").write_text("Include /etc/ssh/ssh_config.d/*.conf\n")
    (root / "etc/ssh/ssh_config.d/a.conf").write_text('"RemoteForward" "1080"\n')
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["9000 h:80", "9001 /run/s", "9002 h:82", "1080"]
    assert reply["may_match"] is False
    assert reply["files"] == ["/home/u/.ssh/config", "/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d/a.conf"]


@pytest.mark.parametrize(
    ("block", "argv", "applies"),
    [
        ("Host x", ["x"], True),
        ("Host y", ["x"], False),
        ("Host * !x", ["x"], False),
        ("Host w?rk*.example", ["work1.example"], True),
        ("Host [x]", ["x"], False),
        ("Host=x", ["x"], True),
        ('Host "x"', ["u@x"], True),
        ("Match host x", ["x"], True),
        ("Match host=x", ["x"], True),
        ("Match originalhost x user bob", ["bob@x"], True),
        ("Match originalhost x user bob", ["-lbob", "x"], True),
        ("Match originalhost x user bob", ["eve@x"], False),
        ("Match !host x", ["x"], False),
        ("Match localuser u", ["x"], True),
        ("Match localuser nobody", ["x"], False),
        ("Match all", ["x"], True),
        ("Match final host x", ["x"], True),
        ("Match !canonical host x", ["x"], True),
        ("Match host real", ["-oHostName=real", "x"], True),
    ],
)
def test_conditions(root: Path, ask: Ask, block: str, argv: list[str], applies: bool) -> None:
    user(root, f"Host other\n  Port 1\n{block}\n  RemoteForward 9000 h:80\n")
    reply = ask("ssh", *argv)
    assert reply["remote_forwards"] == (["9000 h:80"] if applies else [])
    assert not reply["may_match"]


@pytest.mark.parametrize(
    "block",
    [
        "Match exec {marker}",
        "Match host x exec {marker}",
        "Match !exec {marker}",
        "Match exec={marker}",
        "Match localnetwork 10.0.0.0/8",
        "Match tagged t",
        "Match canonical",
    ],
)
def test_what_is_not_evaluated_may_match(root: Path, ask: Ask, tmp_path: Path, block: str) -> None:
    marker = tmp_path / "etc/ran"
    command = f'"touch {marker}"'
    user(root, block.format(marker=command) + "\n  RemoteForward 9000 h:80\n")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["9000 h:80"]
    assert reply["may_match"] is True
    assert not marker.exists()


def test_undecided_beside_a_condition_that_fails(root: Path, ask: Ask) -> None:
    user(root, "Match exec true host y\n  RemoteForward 9000 h:80\n")
    assert ask("ssh", "x")["remote_forwards"] == []


def test_what_certainly_applies_comes_alone(root: Path, ask: Ask) -> None:
    user(root, "Match exec true\n  RemoteForward 1 h:1\nHost *\n  RemoteForward 2 h:2\n")
    reply = ask("ssh", "x")
    assert (reply["remote_forwards"], reply["may_match"]) == (["2 h:2"], False)


def test_include_keeps_its_block(root: Path, ask: Ask) -> None:
    user(root, "Host y\n  Include conf.d/*\nHost x\n  Include ~/.ssh/other\n  Port 2222\n")
    user(root, "RemoteForward 1 h:1\nHost x\n RemoteForward 2 h:2\n", "conf.d/a")
    user(root, "RemoteForward 3 h:3\nHost z\n RemoteForward 4 h:4\n", "other")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["3 h:3"]
    assert "/home/u/.ssh/conf.d/a" in reply["files"]


def test_include_of_itself_ends(root: Path, ask: Ask) -> None:
    user(root, "Include config\nRemoteForward 1 h:1\n")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"]
    assert "deeper" in reply["error"]


@pytest.mark.parametrize("argv", [["-F", "/etc/other", "x"], ["-F../../etc/other", "x"], ["x", "-NF", "/etc/other"]])
def test_file_given(root: Path, ask: Ask, argv: list[str]) -> None:
    user(root, "RemoteForward 1 h:1\n")
    (root / "etc/ssh/ssh_config").write_text("RemoteForward 2 h:2\n")
    (root / "etc/other").write_text("RemoteForward 3 h:3\n")
    assert ask("ssh", *argv)["remote_forwards"] == ["3 h:3"]


def test_file_none_and_file_missing(root: Path, ask: Ask) -> None:
    user(root, "RemoteForward 1 h:1\n")
    assert ask("ssh", "-F", "none", "x")["remote_forwards"] == []
    assert "No such file" in ask("ssh", "-F", "/missing", "x")["error"]


@pytest.mark.parametrize(
    "argv",
    [
        ["-oClearAllForwardings=yes", "x"],
        ["-o", "clearallforwardings yes", "x"],
        ["-W", "a:1", "x"],
    ],
)
def test_cleared(root: Path, ask: Ask, argv: list[str]) -> None:
    user(root, "RemoteForward 1 h:1\n")
    assert ask("ssh", *argv)["remote_forwards"] == []
    assert ask("ssh", "x")["remote_forwards"] == ["1 h:1"]


def test_control_path(root: Path, ask: Ask) -> None:
    user(root, "Host x\n  HostName real\n  ControlPath ~/cm-%r@%h:%p-%n-%u-%C\n")
    assert ask("ssh", "-p", "443", "bob@x")["control_path"] == "/home/u/cm-bob@real:443-x-u-%C"
    assert ask("ssh", "-S", "/tmp/s", "x")["control_path"] == "/tmp/s"
    assert ask("ssh", "-oControlPath=none", "x")["control_path"] == ""


def test_nothing_leads_out_of_the_root(root: Path, ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    outside.chmod(0o755)
    (outside / "secret").write_text("RemoteForward 1 out:1\n")
    (root / "home/u/.ssh/link").symlink_to(outside / "secret")
    (root / "home/u/.ssh/magic").symlink_to("/proc/self/root" + str(outside / "secret"))
    up = "../" * 20 + str(outside / "secret")
    user(root, f"Include link\nInclude magic\nInclude {up}\nInclude {outside}/*\n")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == []
    assert reply["files"] == ["/home/u/.ssh/config"]


def test_only_regular_files(root: Path, ask: Ask) -> None:
    os.mkfifo(root / "home/u/.ssh/pipe")
    user(root, "Include pipe\nInclude conf.d\nRemoteForward 1 h:1\n")
    if os.geteuid() == 0:
        os.mknod(root / "home/u/.ssh/zero", 0o020666, os.makedev(1, 5))
        user(root, "Include zero\nInclude pipe\nInclude conf.d\nRemoteForward 1 h:1\n")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["1 h:1"]
    assert "no regular file" in reply["error"]


def test_too_large(root: Path, ask: Ask) -> None:
    user(root, "Include big\nRemoteForward 1 h:1\n")
    user(root, "RemoteForward 2 h:2\n" + "#" * FILE_BYTES, "big")
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["1 h:1"]
    assert "larger" in reply["error"]


def test_too_many(root: Path, ask: Ask) -> None:
    for number in range(100):
        user(root, f"RemoteForward {number + 1} h:1\n", f"conf.d/{number:03}")
    user(root, "Include conf.d/*\nInclude conf.d/*\n")
    reply = ask("ssh", "x")
    assert len(reply["remote_forwards"]) <= 64
    assert "more than 64 files" in reply["error"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\x00RemoteForward\n" + bytes(range(256)),
        b'Match\nMatch host\nHost\nInclude\nRemoteForward\n"\nHost "x\nMatch final all !host\n',
        b"Host " + b"*a" * 2000 + b"\nRemoteForward 1 h:1\n",
        b"Match " + b"exec x " * 5000 + b"\n",
        b"Host " + b"x " * 20000 + b"\n",
        b"CanonicalizeHostname yes\nCanonicalDomains example.invalid\n",
        b"Match host %h user ${HOME} localuser ~\nControlPath %\nHostName %h%h%h\nPort x\n",
    ],
)
def test_hostile_text_gets_an_answer(root: Path, ask: Ask, text: bytes) -> None:
    (root / "home/u/.ssh/config").write_bytes(text)
    reply = ask("ssh", "x" * 200)
    assert set(reply) >= {"error"}


def test_uid_without_an_account(ask: Ask) -> None:
    assert "no entry" in ask("ssh", "x", uid=UID + 1)["error"]


@pytest.mark.root
def test_others_files_stay_closed(root: Path, ask: Ask) -> None:
    """The helper reads with the agent's rights: 0600 of the agent's user opens, root's does not."""
    user(root, "RemoteForward 1 h:1\nInclude /etc/rootonly\n")
    (root / "etc/rootonly").write_text("RemoteForward 2 h:2\n")
    (root / "etc/rootonly").chmod(0o600)
    reply = ask("ssh", "x")
    assert reply["remote_forwards"] == ["1 h:1"]
    assert "Permission denied" in reply["error"]


PROBE = """
import errno, importlib.util, json, os, signal, socket, sys
spec = importlib.util.spec_from_file_location("helper", sys.argv[1])
helper = importlib.util.module_from_spec(spec); spec.loader.exec_module(helper)
helper.limit(); helper.drop(61234, 61234, [61234]); helper.confine()
def tried(call, *args):
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "uid": status["Uid"].split(), "gid": status["Gid"].split(),
    "effective": status["CapEff"].strip(), "permitted": status["CapPrm"].strip(),
    "new_privs": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "socket": tried(socket.socket), "fork": tried(os.fork), "exec": tried(os.execv, "/bin/true", ["x"]),
    "kill": tried(os.kill, os.getppid(), 0), "root": tried(os.setuid, 0),
}))
"""


@pytest.mark.root
def test_rights_are_given_up() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", PROBE, str(HELPER)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    facts = json.loads(done.stdout)
    assert facts["uid"] == ["65534", "65534", "65534", "61234"]
    assert facts["gid"] == ["65534", "65534", "65534", "61234"]
    assert int(facts["effective"], 16) == int(facts["permitted"], 16) == 0
    assert (facts["new_privs"], facts["seccomp"]) == ("1", "2")
    assert {facts[name] for name in ("socket", "fork", "exec", "kill", "root")} == {"EPERM"}


def test_lines() -> None:
    assert split_line('  Host  a "b c" # d') == ("host", ["a", "b c"])
    assert split_line("Port=22") == ("port", ["22"])
    assert split_line("# Host a") == ("", [])
    assert match_criteria(["all"]) == ([], False)
    given = arguments(["ssh", "-vNp443", "-F", "f", "u@h", "-o", "Port 1", "cmd", "-F", "g"])
    assert (given.host, given.file, given.lines) == ("h", "f", ["Port 443", "Port 1", "User u"])
    after = arguments(["ssh", "-F", "f", "--", "h", "-F", "g"])
    assert (after.host, after.file) == ("h", "f")
    assert arguments(["ssh", "h", "--", "-F", "g"]).file == ""
