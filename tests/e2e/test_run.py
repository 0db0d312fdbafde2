"""`rubicon run` without a terminal: what CMD gets, what comes out, and how it ends."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.host import Host, until

pytestmark = pytest.mark.root


def test_status_and_streams_pass_through(host: Host) -> None:
    done = host.rubicon("run", "--", "sh", "-c", "cat; echo problem >&2; exit 7", stdin=None, input="from stdin")
    assert (done.returncode, done.stdout) == (7, "from stdin")
    assert "problem\n" in done.stderr


def test_the_first_instruction_is_enrolled(host: Host) -> None:
    done = host.rubicon("run", "--name", "early", "--", "cat", "/proc/self/cgroup")
    agent = next(each for each in host.json("ps", "-a") if each["name"] == "early")
    assert f"/{host.instance.cgroup}/{agent['id']}" in done.stdout
    kinds = [line.split()[2] for line in host.rubicon("events", agent["id"]).stdout.splitlines()]
    assert kinds[:2] == ["enrol", "exec"]


def test_summary_names_what_happened(host: Host) -> None:
    done = host.rubicon("run", "--name", "counted", "--", "sh", "-c", "/bin/true; /bin/true; exit 0")
    assert "counted" in done.stderr
    assert "3 processes, 0 flows, 0 alerts" in done.stderr
    assert not host.rubicon("run", "--quiet", "--", "true").stderr


def test_a_signal_is_told_as_a_shell_does(host: Host) -> None:
    assert host.rubicon("run", "--", "sh", "-c", "kill -USR1 $$").returncode == 128 + signal.SIGUSR1


@pytest.mark.parametrize(
    ("command", "status"), [("/nowhere/at-all", 127), ("no-such-program", 127), ("/etc/passwd", 126)]
)
def test_what_cannot_run_is_told_as_env_does(host: Host, command: str, status: int) -> None:
    done = host.rubicon("run", "--", command)
    assert done.returncode == status
    assert command in done.stderr
    until(lambda: not host.json("ps"))


def test_a_name_that_a_command_would_take_for_a_pid_is_refused(host: Host) -> None:
    for name in ("4242", "pid:4242", "x" * 64):
        done = host.rubicon("run", "--name", name, "--", "true")
        assert done.returncode == 125
        assert name in done.stderr


def test_usage_is_125(host: Host) -> None:
    assert host.rubicon("run").returncode == 125
    assert host.rubicon("run", "--timeout", "-3", "--", "true").returncode == 125
    assert host.rubicon("run", "-l", "nothing", "--", "true").returncode == 125
    assert host.rubicon("run", "--user", "nobody-has-this-name", "--", "true").returncode == 125


def test_a_living_name_is_refused(host: Host) -> None:
    with subprocess.Popen(
        host.command("run", "-q", "--name", "taken", "--", "sleep", "60"), env=host.environment
    ) as first:
        until(lambda: [each for each in host.json("ps") if each["name"] == "taken"])
        second = host.rubicon("run", "--name", "taken", "--", "true")
        assert second.returncode == 125
        assert "taken" in second.stderr
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=60) == 128 + signal.SIGTERM


def test_labels_and_names_are_listed(host: Host) -> None:
    host.rubicon("run", "-q", "--name", "named", "-l", "job=rome-7", "-l", "team=a=b", "--", "true")
    agent = next(each for each in host.json("ps", "-a") if each["name"] == "named")
    assert agent["labels"] == {"job": "rome-7", "team": "a=b"}
    assert set(agent) >= {"id", "name", "labels", "state", "host", "started_at", "processes", "alerts"}


def test_the_time_limit_kills_the_tree(host: Host) -> None:
    done = host.rubicon("run", "--timeout", "0.5", "--", "sh", "-c", "setsid sleep 1000 & sleep 1000")
    assert done.returncode == 124
    assert not host.json("ps")


def test_survivors_are_listed_and_stay_watched(host: Host) -> None:
    done = host.rubicon("run", "--name", "leaves", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & true")
    assert done.returncode == 0
    assert "1 processes live on, watched: sleep[" in done.stderr
    assert [each["name"] for each in host.json("ps")] == ["leaves"]
    assert host.rubicon("kill", "leaves").returncode == 0
    assert not host.json("ps")


def test_kill_on_exit_leaves_none(host: Host) -> None:
    done = host.rubicon("run", "--kill-on-exit", "--", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & exit 3")
    assert done.returncode == 3
    assert not host.json("ps")


@pytest.mark.parametrize("options", [(), ("--kill-on-exit",)], ids=" ".join)
@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & sleep 61 & wait"])
def test_a_kill_is_told_with_its_reason(host: Host, options: tuple[str, ...], script: str) -> None:
    with subprocess.Popen(
        host.command("run", "--name", "doomed", *options, "--", "sh", "-c", script),
        env=host.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: [each for each in host.json("ps") if each["name"] == "doomed" and each["processes"] > 1])
        assert host.rubicon("kill", "doomed", "--reason", "because \x1b[31mred").returncode == 0
        _, told = running.communicate(timeout=60)
    assert running.returncode == 137
    assert "agent doomed was killed: because \\e[31mred" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_run_reaches_cmd(host: Host, number: int) -> None:
    script = "trap 'echo got; exit 5' INT TERM HUP; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        host.command("run", "-q", "--", "sh", "-c", script), env=host.environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.stdout.read() == "got\n"
    assert running.returncode == 5


def test_signals_ignored_from_the_start_stay_ignored(host: Host) -> None:
    script = "from signal import *; print(getsignal(SIGHUP) == SIG_IGN, getsignal(SIGUSR1) == SIG_DFL)"
    command = ["nohup", *host.command("run", "-q", "--", "python3", "-S", "-c", script)]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_as_the_user_who_typed_sudo(host: Host) -> None:
    environment = {**host.environment, "SUDO_UID": "65534", "SUDO_USER": "nobody", "SUDO_COMMAND": "rubicon"}
    script = 'id -u; echo "$HOME $USER $LOGNAME ${SUDO_UID-unset}"; grep CapEff /proc/self/status'
    done = host.rubicon("run", "-q", "--", "sh", "-c", script, env=environment, cwd="/")
    assert done.stdout.splitlines() == ["65534", "/nonexistent nobody nobody unset", "CapEff:\t0000000000000000"]
    assert host.rubicon("run", "-q", "--user", "root", "--", "id", "-u", env=environment).stdout == "0\n"


def test_alerts_go_to_a_file(host: Host, tmp_path: Path) -> None:
    script = "import socket\nl=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(l.getsockname())\n"
    script += "c.sendall(b'SSH-2.0-test\\r\\n')\nl.accept()[0].recv(20)\n"
    done = host.rubicon("run", "--alerts-to", str(tmp_path / "alerts"), "--", "python3", "-c", script)
    assert done.returncode == 0
    assert "Outbound SSH" in (tmp_path / "alerts").read_text()
    assert "Outbound SSH" not in done.stderr
    assert "1 alerts" in done.stderr


def test_arguments_of_two_megabytes_and_escape_codes(host: Host) -> None:
    words = ["x" * 100_000] * 20 + ["\x1b]0;owned\x07"]
    done = host.rubicon("run", "--name", "wordy", "--", "true", *words)
    assert done.returncode == 0
    assert "\x1b]0" not in done.stderr
    shown = host.rubicon("events", "wordy", "--kind", "exec")
    assert f"cut, {len('true') + 1 + sum(len(each) + 1 for each in words)} bytes" in shown.stdout


def test_a_caller_outside_the_group_is_told_so(host: Host) -> None:
    # reading stays allowed: the interpreter may lie in a folder that is root's
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    nobody += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for arguments in (["ps"], ["run", "--", "true"], ["kill", "some"]):
        command = [*nobody, *host.command(*arguments)]
        done = subprocess.run(command, env=host.environment, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 4, done.stderr
        assert "usermod -aG rubicon" in done.stderr
