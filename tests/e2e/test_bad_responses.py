"""Responses that are asked for at the wrong time, of the wrong target, or with values that cannot be, on a real host."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rubicon.client import Client, errors
from rubicon.client.local import LocalSocket
from tests.e2e.host import Host, until

pytestmark = pytest.mark.root
FOUR = ("kill", "freeze", "isolate", "release")
YEAR_S = 365 * 86400


class Sleepers:
    """Agents of one sleeping process each."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.pids: list[int] = []

    def make(self, name: str, **labels: str) -> int:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "100000"], os.environ)
        self.pids.append(pid)
        with Client(self.host.instance) as client:
            client.agents.create(name, labels=labels).enrol(pid=pid)
        return pid

    def state(self, name: str) -> tuple[str, bool, bool]:
        """As the plane knows it: state, frozen, isolated."""
        agent = next(each for each in self.host.json("ps", "-a") if each["name"] == name)
        return agent["state"], agent["frozen"], agent["isolated"]

    def until(self, name: str, state: tuple[str, bool, bool]) -> None:
        """Once what the sensor did has come up."""
        until(lambda: self.state(name) == state)


@pytest.fixture
def sleepers(host: Host) -> Iterator[Sleepers]:
    made = Sleepers(host)
    try:
        yield made
    finally:
        host.rubicon("kill", "--all", "--yes")
        for pid in made.pids:
            os.waitpid(pid, 0)
        until(lambda: not host.json("ps"))


@pytest.fixture
def local(host: Host) -> LocalSocket:
    return LocalSocket(host.instance)


def test_a_target_that_just_ended(host: Host, sleepers: Sleepers) -> None:
    """What a kill wants is so already; the others have nobody to do it to. A process is nobody any more, locally too."""
    pid = sleepers.make("short")
    start_time = next(each["start_time"] for each in host.json("tree", "short"))
    assert host.rubicon("kill", str(pid)).returncode == 0
    [again] = host.json("kill", "short")
    assert again["state"] == "verified"
    for action in FOUR[1:]:
        done = host.rubicon(action, "short")
        assert done.returncode in (4, 5)
        assert "ended" in done.stderr
        assert host.rubicon(action, "short", "--local").returncode == 5
    assert host.rubicon("kill", f"{pid}@{start_time}", "--local").returncode == 5
    assert host.rubicon("freeze", f"{pid}@{start_time}").returncode in (4, 5)


def test_a_pid_of_another_start_time(host: Host, sleepers: Sleepers) -> None:
    pid = sleepers.make("mine")
    for action in ("kill", "freeze"):
        for where in ((), ("--local",)):
            assert host.rubicon(action, f"{pid}@12345", *where).returncode == 5
    assert sleepers.state("mine") == ("running", False, False)


def test_a_time_that_cannot_be(sleepers: Sleepers, local: LocalSocket) -> None:
    """Past the command line, which has its own look at it."""
    sleepers.make("timed")
    for ttl_ns in (0, -1, -(10**18), 367 * 86_400 * 10**9, 2**80, "1", 1.5, True):
        for op in ("freeze", "isolate"):
            with pytest.raises(errors.InvalidArgument):
                local.call(op, target="timed", ttl_ns=ttl_ns)
    assert sleepers.state("timed") == ("running", False, False)


def test_a_year(host: Host, sleepers: Sleepers) -> None:
    sleepers.make("long")
    for action, where in (("freeze", ()), ("isolate", ("--local",))):
        [response] = host.json(action, "long", "--ttl", "365d", *where)
        expires = datetime.datetime.fromisoformat(response["expires_at"][:19] + "+00:00")
        left = (expires - datetime.datetime.now(datetime.UTC)).total_seconds()
        assert YEAR_S - 600 < left <= YEAR_S + 1
    sleepers.until("long", ("running", True, True))


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (("freeze", "freeze"), ("running", True, False)),
        (("freeze", "isolate"), ("running", True, True)),
        (("kill", "kill"), ("killed", False, False)),
        (("kill", "freeze"), ("killed", False, False)),
    ],
)
def test_two_at_once(host: Host, sleepers: Sleepers, words: tuple[str, str], after: tuple[str, bool, bool]) -> None:
    """Each is carried out, or told that the agent has ended."""
    name = "-and-".join(words)
    sleepers.make(name)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda word: host.rubicon(word, name), words)
    assert first.returncode == 0
    assert second.returncode == 0 or (words == ("kill", "freeze") and "ended" in second.stderr)
    sleepers.until(name, after)


def test_contradicting_ones_in_a_row(host: Host, sleepers: Sleepers) -> None:
    sleepers.make("torn")
    for action, frozen, isolated in (
        ("release", False, False),
        ("freeze", True, False),
        ("release", False, False),
        ("isolate", False, True),
        ("freeze", True, True),
        ("freeze", True, True),
        ("release", False, False),
        ("isolate", False, True),
    ):
        [response] = host.json(action, "torn")
        assert (response["action"], response["state"]) == (action, "verified")
        sleepers.until("torn", ("running", frozen, isolated))
    assert host.json("kill", "torn")[0]["killed"] == 1
    assert host.rubicon("release", "torn").returncode in (4, 5)
    sleepers.until("torn", ("killed", False, False))


def test_labels_that_match_everything_or_nothing(host: Host, sleepers: Sleepers) -> None:
    for number in range(3):
        sleepers.make(f"one-{number}", job="a", everywhere="yes")
    for action in FOUR:
        done = host.rubicon(action, "-l", "everywhere=no")
        assert done.returncode == 5
        assert "no living agent fits" in done.stderr
    assert host.rubicon("kill", "-l", "job=a", "-l", "job=b").returncode == 2, "no agent has both"
    assert host.rubicon("kill", "-l", "everywhere").returncode == 2
    assert {sleepers.state(f"one-{number}") for number in range(3)} == {("running", False, False)}
    assert len(host.json("isolate", "-l", "everywhere=yes")) == 3
    for number in range(3):
        sleepers.until(f"one-{number}", ("running", False, True))


def test_what_belongs_to_the_host(host: Host) -> None:
    """pid 1, this test, the daemons: nobody's processes are frozen either, forced or not."""
    for pid in (1, os.getpid(), host.daemon("rubicon-sensor"), host.daemon("rubicon-plane")):
        for words in ((), ("--force",), ("--local",), ("--local", "--force")):
            assert host.rubicon("freeze", str(pid), *words).returncode in (4, 5)
        for action in ("isolate", "release"):
            assert host.rubicon(action, str(pid)).returncode in (2, 4, 5)
    assert host.rubicon("doctor").returncode == 0


def test_the_operators_own_shell(host: Host, sleepers: Sleepers) -> None:
    """Whoever enrols his own shell is an agent's process from then on: it is refused, and says so; others end it."""
    script = "echo; read _; for word in 'kill --force' 'freeze --force' 'isolate --force' release; do"
    script += " rubicon $word shell; echo $?; done; read _"
    path = f"{host.command()[0].removesuffix('/rubicon')}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["sh", "-c", script],
        env={**host.environment, "PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with shell, Client(host.instance) as client:
        assert shell.stdin
        assert shell.stdout
        shell.stdout.readline()
        client.agents.create("shell").enrol(pid=shell.pid)
        shell.stdin.write("\n")
        shell.stdin.flush()
        assert [shell.stdout.readline() for _ in FOUR] == ["4\n"] * 4
        assert host.rubicon("kill", "shell").returncode == 0
        _, told = shell.communicate(timeout=60)
    assert shell.returncode == -9
    assert "agent" in told


def test_ten_thousand_networks(host: Host, sleepers: Sleepers, local: LocalSocket) -> None:
    sleepers.make("listed")
    networks = [f"10.{number >> 8}.{number & 255}.0/24:443" for number in range(10_000)]
    allowed = [word for network in networks for word in ("--allow", network)]
    [response] = host.json("isolate", "listed", *allowed)
    assert response["state"] == "verified"
    sleepers.until("listed", ("running", False, True))
    done = host.rubicon("isolate", "listed", *allowed, "--allow", "192.0.2.0/24")
    assert done.returncode == 2
    assert "at most 10000" in done.stderr
    with pytest.raises(errors.RubiconError, match="bytes"):  # one line of the local socket holds 64 kB
        local.call("isolate", target="listed", allow=networks)
    assert sleepers.state("listed") == ("running", False, True)
    assert host.json("release", "listed")[0]["state"] == "verified"
