"""Against the daemons: signals, tracing, their limits, files, sockets and namespaces."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.adversary.field import ATTACKS, Container, alerts, privileged
from tests.e2e.adversary.fight import known
from tests.e2e.adversary.rows import DONE, EITHER, NOT_THERE, REFUSED, Row, check
from tests.e2e.host import Host, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # others may hold the lock
DAEMONS = ("rubicon-sensor", "rubicon-plane", "supervisor")


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
            Row(f"open-file:/proc/{pid}/mem,w", NOT_THERE),
            Row(f"open-file:/proc/{pid}/environ", NOT_THERE),
            Row(f"root-of:{pid}", NOT_THERE),
            Row(f"write:/proc/{pid}/oom_score_adj,1000", NOT_THERE, REFUSED | DONE, EITHER),
        ]
    check(host, container, rows)


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
    """Root's files are open to who is root on the host's file system; a container does not have them."""
    instance = host.instance
    files = [instance.token_key, *instance.store_dir.glob("*.db"), *instance.spool_dir.glob("*.segment")]
    assert len(files) >= 2
    rows = [Row(f"open-file:{path},{how}", NOT_THERE, DONE) for path in files for how in "rw"]
    rows.append(Row(f"by-handle:{instance.state_dir}", NOT_THERE, DONE))
    check(host, container, rows)


def test_a_user_reaches_none_of_it(host: Host) -> None:
    """What an agent ought to be: nobody special."""
    instance = host.instance
    words = [f"open-file:{instance.token_key}", f"open-file:{instance.spool_dir},d", f"connect:{instance.plane_socket}"]
    words += [f"connect:{instance.sensor_socket}", *(f"signal:{host.daemon(name)},0" for name in DAEMONS)]
    words += ["root-of:1", "raise-limit:RLIMIT_NOFILE", "set-clock", f"prlimit:{host.daemon('rubicon-sensor')}"]
    command = ("/usr/bin/python3", "-S", "-c", Path(ATTACKS[2]).read_text(), *words)
    done = host.rubicon("run", "-q", "--user", "nobody", "--", *command, cwd="/")
    results = dict(zip(words, done.stdout.split("\n"), strict=False))
    assert {word: what for word, what in results.items() if what not in REFUSED} == {}, done.stderr
