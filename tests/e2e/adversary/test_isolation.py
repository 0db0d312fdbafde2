"""No byte gets out of an isolated agent: counted on the other side of a cable, in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.adversary.fight import escaping, events, fighter, round_done
from tests.e2e.adversary.wire import OUTSIDE4, UDP_PORT, Wire, ended, wire
from tests.e2e.host import Host, until
from tests.soak.rounds import WAYS

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]
TOLD_LATE = 1.5
"""Seconds until a socket that was handed over is destroyed: the sensor looks four times a second."""


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    with wire() as made:
        yield made


@pytest.mark.parametrize("who", ["contained", "host"])
def test_every_way_out(host: Host, cable: Wire, who: str) -> None:
    """Old sockets of every kind, new ones, through namespaces, other cgroups, daemons, threads, descriptors in flight.

    Host root has packet sockets besides, which no hook governs: tests/sensor/act/test_isolate.py.
    """
    before = cable.count()[0]
    options = ("--user", "root") if who == "contained" else ("--user", "root", "--privileged")
    ways = [way for way in WAYS if who == "contained" or way != "sock-packet"]
    with escaping(host, cable, *ways, options=options) as fights:
        assert cable.count()[0] > before + 20, "they work"
        fights.act("isolate")
        silent = cable.quiet()
        fights.tell()
        round_done(fights, 30)
        cable.count(read=True)
        round_done(fights, 30)
        assert cable.count()[0] == silent, cable.count()[1]
        fights.killed()
    # what it had written before goes with it: the kernel has until its agent is forgotten, and longer
    with contextlib.suppress(subprocess.TimeoutExpired):
        cable.outside.wait(3)
    assert cable.count(read=True)[0] == silent, cable.count()[1]


def test_what_was_written_before_to_where_it_may_not_go(host: Host, cable: Wire) -> None:
    """Some destinations are allowed: what waits for the others leaves neither while it lasts nor at the agent's end."""
    with escaping(host, cable, "in-flight-and-full", "closed-old", "left-closed-old") as fights:
        fights.act("isolate", "--allow", f"{OUTSIDE4}:{UDP_PORT}")
        quiet = cable.quiet()
        cable.count(read=True)
        assert cable.quiet() == quiet, cable.count()[1]
        fights.killed()
    # the kernel tries again what is not acknowledged, for longer than its agent is remembered
    with contextlib.suppress(subprocess.TimeoutExpired):
        cable.outside.wait(3)
    assert cable.count(read=True)[0] == quiet, cable.count()[1]


@pytest.mark.parametrize("who", ["rubicon-sensor", "rubicon-plane"])
def test_while_a_daemon_dies_and_comes_back(host: Host, cable: Wire, who: str) -> None:
    with escaping(host, cable) as fights:
        fights.act("isolate")
        silent = cable.quiet()
        fights.tell()
        before = host.daemon(who)
        os.kill(before, signal.SIGKILL)
        round_done(fights, 10)
        until(lambda: host.daemon(who) not in (0, before))
        until(lambda: host.rubicon("ps").returncode == 0)
        round_done(fights, 10)
        assert cable.count()[0] == silent, cable.count()[1]
        fights.killed()


def test_while_both_are_stopped(host: Host, cable: Wire) -> None:
    """As host root may: there is nobody left to notice, and the kernel goes on refusing."""
    daemons = [host.daemon(name) for name in ("supervisor", "rubicon-sensor", "rubicon-plane")]
    with escaping(host, cable) as fights:
        fights.act("isolate")
        silent = cable.quiet()
        try:
            for pid in daemons:
                os.kill(pid, signal.SIGSTOP)
            fights.tell()
            round_done(fights, 20)
            assert cable.count()[0] == silent, cable.count()[1]
        finally:
            for pid in daemons:
                os.kill(pid, signal.SIGCONT)
        fights.killed()


@pytest.mark.parametrize(("ways", "more"), [(("udp4", "tcp4"), 5), (("multicast",), 0), (("multicast6",), 0)])
def test_without_isolation_the_same_gets_out(host: Host, cable: Wire, ways: tuple[str, ...], more: int) -> None:
    """The counter counts. The kernel gathers what it tells of groups, for a second."""
    with escaping(host, cable, *ways) as fights:
        silent = cable.count()[0]
        fights.tell()
        round_done(fights, 5)
        until(lambda: cable.count()[0] > silent + more)
        fights.killed()


HANDS_OVER = """
import array, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1]); server.listen()
    taker = server.accept()[0]
    sys.stdin.readline()
    made = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    taker.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
    made.close()
    print("handed over", flush=True)
    sys.stdin.readline()
"""
TAKES = """
import array, socket, sys, time
with socket.socket(socket.AF_UNIX) as giver:
    giver.connect(sys.argv[1])
    print("ready", flush=True)
    extra = giver.recvmsg(1, 64)[1]
    made = socket.socket(fileno=array.array("i", extra[0][2])[0])
    while True:
        try: made.send(b"x")
        except OSError: pass
        time.sleep(0.005)
"""


def silent(connection: socket.socket) -> bool:
    """Not a byte comes, while the sensor has its time."""
    connection.settimeout(TOLD_LATE)
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        return not connection.recv(1000)
    return True


@pytest.mark.parametrize("giver", ["stranger", "agent"])
def test_a_socket_handed_over_after_isolation(host: Host, tmp_path: Path, giver: str) -> None:
    """Work by proxy, of the least effort: nothing comes of it, whoever owned the socket."""
    place = tmp_path / "giver.sock"
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-S", "-c", HANDS_OVER, str(place), *map(str, server.getsockname())]
        if giver == "agent":
            command = host.command("run", "-q", "--user", "root", "--name", "hands-over", "--", *command)
        with ended(
            subprocess.Popen(command, env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ) as other:
            until(place.exists)
            with fighter(host, sys.executable, "-S", "-c", TAKES, str(place)) as fights:
                fights.act("isolate")
                assert other.stdin
                assert other.stdout
                other.stdin.write("\n")
                other.stdin.flush()
                assert other.stdout.readline() == "handed over\n"
                with server.accept()[0] as connection:
                    assert silent(connection), "bytes came"
                fights.killed()
        if giver == "agent":
            host.rubicon("kill", "hands-over")


TELLS = """
import socket, sys
tells = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print("ready", flush=True)
for line in sys.stdin:
    try: print(tells.sendto(b"x", sys.argv[1]), flush=True)
    except OSError as error: print(-error.errno, flush=True)
"""


@pytest.mark.needs("unix_send")
def test_a_datagram_to_a_unix_socket(host: Host, tmp_path: Path) -> None:
    """As a system log or a service manager takes them, without a connect."""
    place = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(place))
        log.settimeout(10)
        with fighter(host, sys.executable, "-S", "-c", TELLS, str(place)) as fights:
            fights.act("isolate")
            fights.tell()
            assert fights.kept.line() == "1"
            assert log.recv(9) == b"x"
            fights.act("isolate", "--unix")
            fights.tell()
            assert fights.kept.line() == "-1", "EPERM"
            log.setblocking(False)
            with pytest.raises(BlockingIOError):
                log.recv(9)
            assert str(place) in str(events(host, fights.name, "unix_send"))
            fights.killed()
