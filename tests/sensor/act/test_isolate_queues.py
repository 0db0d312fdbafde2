"""What an agent had written when it was isolated: it leaves neither at the release nor at the agent's end."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import subprocess

import pytest

from rubicon.v1 import response_pb2
from sensor.act.cgroup import Cgroup
from tests.sensor.act.isolating import VERIFIED, accept, drain, isolate, release
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root

FILLER = """
import socket, sys
for line in sys.stdin:
    address, port = line.split()
    with socket.create_connection((address, int(port))) as made:
        made.setblocking(False)
        try:
            while True:
                made.send(bytes(65536))
        except BlockingIOError:
            pass
    print("closed", flush=True)
"""


def fill(filler: subprocess.Popen[str], server: socket.socket) -> socket.socket:
    """It has written more than fits, and closed: what comes out at the other end as long as somebody reads."""
    assert filler.stdin
    assert filler.stdout
    filler.stdin.write("{} {}\n".format(*server.getsockname()))
    filler.stdin.flush()
    connection = accept(server)
    assert filler.stdout.readline() == "closed\n"
    return connection


def test_what_waits_leaves_neither_at_the_release_nor_at_the_end(stage: Stage, way: str) -> None:
    """But for what goes where it may."""
    agent, filler = stage.launch("/usr/bin/python3", "-S", "-c", FILLER)
    with socket.create_server(("127.0.0.1", 0)) as good, socket.create_server(("127.0.0.1", 0)) as bad:
        allowed, denied = fill(filler, good), fill(filler, bad)
        response = isolate(stage, agent, allow=[f"127.0.0.0/8:{good.getsockname()[1]}"])
        assert (response.state, response.destroyed) == (VERIFIED, 1), str(response)
        release(stage, agent)
        with pytest.raises(ConnectionResetError):
            drain(denied)
        isolate(stage, agent, allow=[f"127.0.0.0/8:{good.getsockname()[1]}"])
        filler.kill()
        until(lambda: stage.watch.sweep() or not stage.kernel.agents.get(agent.number))
        drain(allowed)  # to its orderly end


def test_what_one_that_left_had_written_is_destroyed(stage: Stage) -> None:
    agent, filler = stage.launch("/usr/bin/python3", "-S", "-c", FILLER)
    Cgroup.at("/").move(filler.pid)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = fill(filler, server)
        assert isolate(stage, agent).destroyed == 1
        with pytest.raises(ConnectionResetError):
            drain(connection)


SINK = """
import socket, sys
with socket.create_server(("127.0.0.1", 7000)) as server:
    print("ready", flush=True)
    with server.accept()[0] as connection:
        sys.stdin.readline()
        try:
            while connection.recv(65536): pass
            print("all of it", flush=True)
        except ConnectionResetError:
            print("reset", flush=True)
"""


@pytest.mark.parametrize("then", ["look", "release"])
def test_what_was_written_in_a_namespace_that_it_has_left(stage: Stage, then: str) -> None:
    name = f"rubicon-t-{os.getpid()}-{secrets.token_hex(2)}"
    inside = ("ip", "netns", "exec", name, "/usr/bin/python3", "-S", "-c")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        sink = subprocess.Popen([*inside, SINK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stage.children.append(sink)
        assert sink.stdin
        assert sink.stdout
        assert sink.stdout.readline() == "ready\n"
        script = shlex.join([*inside, FILLER])
        agent, child = stage.launch("sh", "-c", f"echo 127.0.0.1 7000 | {script}; exec sleep 60")
        assert child.stdout
        assert child.stdout.readline() == "closed\n"
        until(lambda: len(stage.members(agent)) == 1)
        isolate(stage, agent)
        if then == "look":
            stage.watch.sweep()
        release(stage, agent)
        sink.stdin.write("\n")
        sink.stdin.flush()
        assert sink.stdout.readline() == "reset\n"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.parametrize("end", ["its end", "the next sensor"])
def test_what_was_not_destroyed_yet_is_at(stage: Stage, end: str) -> None:
    """A sensor that died between the flag and the cut."""
    agent, filler = stage.launch("/usr/bin/python3", "-S", "-c", FILLER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = fill(filler, server)
        stage.registry.change(agent.id, isolated=True)
        stage.containment._isolator.enforce(agent, response_pb2.Isolation())
        if end == "its end":
            filler.kill()
            until(lambda: stage.watch.sweep() or not stage.kernel.agents.get(agent.number))
        else:
            stage.restart()
        with pytest.raises(ConnectionResetError):
            drain(connection)
