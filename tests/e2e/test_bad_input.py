"""Bad input on a real host, from where a user or an agent gives it."""

from __future__ import annotations

import grp
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.client import Client, errors
from tests.e2e.host import Host, until

pytestmark = pytest.mark.root
HOSTILE = b"\x1b]0;owned\x07\x1b[2J\xff\xfe\xe2\x80\xaex"
HOSTILE_SHOWN = r"$'\e]0;owned\x07\e[2J\xff\xfe\u202ex'"
NOBODY = 65534


@pytest.fixture
def client(host: Host) -> Iterator[Client]:
    with Client(host.instance) as made:
        yield made


@pytest.fixture
def member(host: Host, tmp_path: Path) -> list[str]:
    """A prefix that runs a command as an ordinary member of the group rubicon."""
    group = grp.getgrnam("rubicon").gr_gid
    # reading stays allowed: the interpreter may lie in a folder that is root's
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    ]  # fmt: skip


def test_hostile_arguments_reach_nobodys_terminal(host: Host) -> None:
    command = [os.fsencode(word) for word in host.command("run", "-q", "--name", "hostile", "--", "true")]
    subprocess.run([*command, HOSTILE, b""], env=host.environment, check=True, timeout=60)
    control = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffd]")
    for arguments in (("events", "hostile"), ("tree", "-a", "hostile"), ("ps", "-a")):
        for option in ((), ("--json",)):
            shown = host.rubicon(*arguments, *option).stdout
            assert shown
            assert not control.search(shown), shown
    assert f"true {HOSTILE_SHOWN} ''" in host.rubicon("events", "hostile", "--kind", "exec").stdout
    (exec_,) = host.json("events", "hostile", "--kind", "exec")
    assert exec_["exec"]["argv"] == ["true", "\x1b]0;owned\x07\x1b[2J\\xff\\xfe\u202ex", ""]


def test_an_agent_that_asks_rubicon_is_refused_and_reported(host: Host) -> None:
    asks = ("ps", "kill self --force", "kill --local self --force", "down --yes", "up", "run -- true")
    script = "; ".join(f"rubicon {words}; echo $?" for words in asks)
    path = f"{host.command()[0].removesuffix('/rubicon')}:{os.environ['PATH']}"
    done = host.rubicon("run", "-q", "--name", "self", "--", "sh", "-c", script, env={**host.environment, "PATH": path})
    assert done.returncode == 0, done.stderr
    assert "is a watched agent's process" in done.stderr
    assert done.stdout.split() == ["4", "4", "4", "4", "4", "125"]
    tampers = host.json("events", "self", "--kind", "tamper")
    assert tampers
    assert {each["tamper"]["action"] for each in tampers} == {"local-socket"}
    assert host.rubicon("doctor").returncode == 0, "it could not take anything down"


def test_secrets_are_roots_also_for_members_of_the_group(host: Host, member: list[str]) -> None:
    host.rubicon("run", "-q", "--name", "secretive", "--", "true", "--token=hunter2hunter2")
    ask = host.command("events", "secretive", "--kind", "exec")
    options = {"env": host.environment, "cwd": "/", "capture_output": True, "text": True, "check": False}
    seen = subprocess.run([*member, *ask], **options)  # type: ignore[call-overload]
    assert seen.returncode == 0, seen.stderr
    assert "--token=***" in seen.stdout
    refused = subprocess.run([*member, *ask, "--show-secrets"], **options)  # type: ignore[call-overload]
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "hunter2" not in seen.stdout + refused.stderr
    assert "hunter2hunter2" in host.rubicon("events", "secretive", "--kind", "exec", "--show-secrets").stdout


def test_a_process_that_is_gone_or_whose_pid_another_has(host: Host, client: Client) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(errors.ProcessNotFound):
        client.agents.create("late").enrol(pid=gone.pid)
    with subprocess.Popen(["sleep", "60"]) as living:
        agent = client.agents.create("mine")
        with pytest.raises(errors.ProcessNotFound):
            agent.enrol(pid=living.pid, start_time=1)
        agent.enrol(pid=living.pid)
        with pytest.raises(errors.AlreadyEnrolled):
            client.agents.create("thief").enrol(pid=living.pid)
        with pytest.raises(errors.CgroupNotFound):
            client.agents.get("thief").enrol(cgroup="/no/such/cgroup")
        for words in ((f"{living.pid}@1",), ("--local", f"{living.pid}@1"), ("4194000",), ("--local", "nobody")):
            assert host.rubicon("kill", *words).returncode == 5
        assert living.poll() is None
        assert host.rubicon("kill", str(living.pid), "--reason", "done").returncode == 0
        assert living.wait(20) == -signal.SIGKILL
    for name in ("late", "thief"):
        client.agents.get(name).finish()


def test_what_must_not_be_killed(host: Host, client: Client) -> None:
    for pid in (1, os.getpid(), host.daemon("rubicon-sensor"), host.daemon("rubicon-plane")):
        for words in ((), ("--force",), ("--local",), ("--local", "--force")):
            assert host.rubicon("kill", str(pid), *words).returncode in (4, 5)
    with pytest.raises(errors.RubiconError):
        client.agents.create("host").enrol(pid=1)
    client.agents.get("host").finish()
    assert host.rubicon("doctor").returncode == 0


def test_a_multiplexer_whose_server_runs_already(host: Host, tmp_path: Path) -> None:
    socket = str(tmp_path / "tmux")
    subprocess.run(["tmux", "-S", socket, "-f", "/dev/null", "new-session", "-d", "sleep", "60"], check=True)
    try:
        done = host.rubicon("run", "--", "tmux", "-S", socket, "list-sessions")
        assert done.returncode == 0
        assert "a tmux server of root runs already" in done.stderr
        assert "not watched" in done.stderr
        assert "tmux" not in host.rubicon("run", "--", "true").stderr, "only where it matters"
    finally:
        subprocess.run(["tmux", "-S", socket, "kill-server"], check=True)


def test_a_reader_that_goes_away(host: Host) -> None:
    host.rubicon("run", "-q", "--name", "long", "--", "sh", "-c", "for i in $(seq 200); do /bin/true; done")
    program = f"{host.command()[0]} events long | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], env=host.environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("0", "141")
    assert done.stderr == ""


def test_ctrl_c_ends_what_follows(host: Host) -> None:
    with subprocess.Popen(
        host.command("alerts", "-f"), env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        until(lambda: "poll" in Path(f"/proc/{following.pid}/wchan").read_text() or _threads(following.pid) > 2)
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err.strip()) == (130, "", "")


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_who_is_not_root_can_neither_start_nor_stop(host: Host, member: list[str]) -> None:
    options = {"env": host.environment, "cwd": "/", "capture_output": True, "text": True, "check": False}
    for words in (("down", "--yes"), ("up", "--foreground")):
        done = subprocess.run([*member, *host.command(*words)], **options)  # type: ignore[call-overload]
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert "sudo" in done.stderr
    joined = subprocess.run([*member, *host.command("up")], **options)  # type: ignore[call-overload]
    assert (joined.returncode, joined.stdout) == (0, "plane and sensor were up already\n")
    nothing = {**options, "env": {**host.environment, "RUBICON_INSTANCE": f"{host.name}x"}}
    done = subprocess.run([*member, *host.command("up")], **nothing)  # type: ignore[call-overload]
    assert done.returncode == 4
    assert "use sudo" in done.stderr
