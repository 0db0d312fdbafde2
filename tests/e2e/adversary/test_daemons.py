"""Against the daemons: signals, tracing, their limits, files, sockets and namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.adversary.field import ATTACKS, Container, alerts, privileged, under_profile
from tests.e2e.adversary.fight import fighter, known
from tests.e2e.adversary.rows import DONE, EITHER, NOT_THERE, REFUSED, Row, check
from tests.e2e.host import Host, until
from tests.needs import KERNEL

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # others may hold the lock
DAEMONS = ("rubicon-sensor", "rubicon-plane", "supervisor")
walled = pytest.mark.skipif(KERNEL < (6, 12), reason="Landlock's signal scope is younger than this kernel")


@walled
def test_signals_and_tracing(host: Host, container: Container) -> None:
    rows = []
    for pid in map(host.daemon, DAEMONS):
        rows += [
            Row(f"signal:{pid},0", NOT_THERE),
            Row(f"signal:{pid},{signal.SIGSTOP.value}", NOT_THERE, host=EITHER),
            Row(f"signal:{pid},{signal.SIGCONT.value}", NOT_THERE),
            Row(f"pidfd-signal:{pid},0", NOT_THERE),
            Row(f"ptrace:{pid}", NOT_THERE),
            Row(f"take-descriptor:{pid}", NOT_THERE),
            Row(f"open-file:/proc/{pid}/mem,w", NOT_THERE, NOT_THERE),
            Row(f"open-file:/proc/{pid}/environ", NOT_THERE, NOT_THERE),
            Row(f"root-of:{pid}", NOT_THERE, NOT_THERE),
            Row(f"write:/proc/{pid}/oom_score_adj,1000", NOT_THERE, NOT_THERE, EITHER),
            Row(f"prlimit:{pid}", REFUSED | NOT_THERE),
        ]
    check(host, container, rows)


@walled
def test_everybody_at_once(host: Host, container: Container) -> None:
    """kill(-1): whoever may be signalled."""
    before = [host.daemon(name) for name in DAEMONS]
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        word = f"signal:-1,{signal.SIGTERM.value}"
        container(word)
        host.rubicon("run", "-q", "--user", "root", "--", *ATTACKS, word)  # it hits whom it may: its own tree
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert [host.daemon(name) for name in DAEMONS] == before


def test_host_root_kills_the_sensor_and_nothing_is_lost(host: Host) -> None:
    """The kernel cannot refuse it: the sensor is started again, and the agent is what it was."""
    before = host.daemon("rubicon-sensor")
    with subprocess.Popen(
        host.command("run", "-q", "--privileged", "--user", "root", "--name", "outlives", "--", "cat"),
        env=host.environment,
        stdin=subprocess.PIPE,
    ) as agent:
        until(lambda: known(host, "outlives"))
        assert privileged(host, f"signal:{before},{signal.SIGKILL.value}") == ["ok"]
        until(lambda: host.daemon("rubicon-sensor") not in (0, before))
        until(lambda: host.rubicon("kill", "outlives", "--local").returncode == 0)
        assert agent.wait(timeout=20)
    until(lambda: host.rubicon("ps").returncode == 0)


def test_sockets_of_the_daemons(host: Host, container: Container) -> None:
    """Calls to the sensor are refused and raised, whoever calls."""
    plane, sensor = host.instance.plane_socket, host.instance.sensor_socket
    check(host, container, [Row(f"connect:{plane}", NOT_THERE, DONE), Row(f"connect:{sensor}", NOT_THERE, DONE)])
    for options in ((), ("--privileged",)):
        for words in (
            ("ps",),
            ("release", "--all", "--yes"),
            ("release", "--all", "--yes", "--local"),
            ("down", "--yes"),
        ):
            done = host.rubicon("run", "-q", "--user", "root", *options, "--", *host.command(*words))
            assert done.returncode, (options, words, done.stdout)
    assert all(host.daemon(name) for name in DAEMONS)
    assert alerts(host, "sensor-tampering", "local-socket")


def test_files_of_the_daemons(host: Host, container: Container) -> None:
    """Nobody of an agent's opens them; without all rights there is an empty folder in their place."""
    instance = host.instance
    files = [instance.token_key, *instance.store_dir.glob("*.db"), *instance.spool_dir.glob("*.segment")]
    assert len(files) >= 2
    rows = [Row(f"open-file:{path},{how}", NOT_THERE, NOT_THERE, REFUSED) for path in files for how in "rw"]
    rows.append(Row("by-handle:/", REFUSED | NOT_THERE))
    rows.append(Row(f"by-handle:{instance.state_dir}", REFUSED | NOT_THERE, host=REFUSED))
    # below what lies over it; for host root the kernel has locked other mounts of this host's, or has not
    ways = [f"look-under:{instance.token_key},{how}" for how in ("bind", "tree", "layer", "held")]
    rows += [Row(way, REFUSED | NOT_THERE, REFUSED | NOT_THERE, EITHER) for way in ways]
    rows += [Row(f"in-user-namespace:unmount,{instance.state_dir}", REFUSED | NOT_THERE, host=REFUSED)]
    check(host, container, rows)
    words = [f"unmount:{instance.state_dir}", f"move-away:{instance.state_dir}", f"remove:{instance.state_dir}"]
    words += [f"write:{instance.state_dir}/token.key,x"]
    assert set(under_profile(host, *words)) <= REFUSED | {"EBUSY", "EISDIR"}


def test_the_state_folder_at_another_place(host: Host, tmp_path: Path) -> None:
    """A file system may be mounted twice, whole or in part; the folder that CMD is started in is there without its path."""
    instance = host.instance
    whole, part = tmp_path / "whole", tmp_path / "part"
    script = (
        f"mount --bind {instance.state_dir.parent} {whole}; mount --bind {instance.spool_dir} {part}; exec " + '"$@"'
    )
    whole.mkdir()
    part.mkdir()
    words = [
        f"open-file:{whole}/{instance.name}/token.key",
        f"open-file:{part}/{min(instance.spool_dir.iterdir()).name}",
    ]
    around = ["unshare", "--mount", "sh", "-euc", script, "sh"]
    for options, wanted in (((), ["ENOENT"] * 2), (("--privileged",), ["EPERM"] * 2)):
        run = host.command("run", "-q", "--user", "root", *options, "--", *ATTACKS, *words)
        done = subprocess.run(
            [*around, *run], env=host.environment, cwd="/", capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == wanted
    for folder, wanted in ((instance.state_dir, ["ENOENT", "EROFS"]), (instance.run_dir, ["ENOENT", "EROFS"])):
        run = host.command("run", "-q", "--user", "root", "--", *ATTACKS, "open-file:token.key", "write:forged,x")
        done = subprocess.run(run, env=host.environment, cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.split() == wanted
    done = host.rubicon("run", "-q", "--user", "root", "--", "true", cwd=instance.spool_dir)
    assert (done.returncode, "mounts" in done.stderr) == (125, True), "what is hidden cannot be where it is"


def test_no_lock_of_theirs_can_be_held(host: Host) -> None:
    """Who held one would keep a daemon from coming back."""
    with fighter(host, *ATTACKS, f"lock-all:{host.instance.run_dir}") as fights:
        before = [host.daemon(name) for name in DAEMONS[:2]]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for name, pid in zip(DAEMONS, before, strict=False):
            until(lambda name=name, pid=pid: host.daemon(name) not in (0, pid))
        until(lambda: host.rubicon("ps").returncode == 0)
        assert host.rubicon("up").returncode == 0
        fights.killed()


def test_sockets_cannot_be_replaced(host: Host, container: Container) -> None:
    """Whoever could put a socket of its own there would be asked in the daemons' place, and shown their callers' tokens."""
    plane = host.instance.plane_socket
    words = [f"remove:{plane}", f"move-away:{plane}", f"move-away:{plane.parent}", f"writable-again:{plane.parent}"]
    words += [f"write:{plane.parent}/forged.sock,x"]
    assert set(under_profile(host, *words)) <= REFUSED | {"EBUSY"}
    assert set(container(*words)) <= REFUSED | NOT_THERE
    assert plane.is_socket()


def test_a_user_reaches_none_of_it(host: Host) -> None:
    """What an agent ought to be: nobody special."""
    instance = host.instance
    hidden = [f"open-file:{instance.token_key}", f"open-file:{instance.spool_dir},d"]
    words = [*hidden, f"connect:{instance.plane_socket}"]
    words += [f"connect:{instance.sensor_socket}", *(f"signal:{host.daemon(name)},0" for name in DAEMONS)]
    words += ["root-of:1", "raise-limit:RLIMIT_NOFILE", "set-clock", f"prlimit:{host.daemon('rubicon-sensor')}"]
    command = ("/usr/bin/python3", "-S", "-c", Path(ATTACKS[2]).read_text(), *words)
    done = host.rubicon("run", "-q", "--user", "nobody", "--", *command, cwd="/")
    results = dict(zip(words, done.stdout.split("\n"), strict=False))
    assert [results.pop(word) for word in hidden] == ["ENOENT"] * 2
    assert {word: what for word, what in results.items() if what not in REFUSED} == {}, done.stderr
