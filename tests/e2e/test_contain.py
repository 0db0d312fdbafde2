"""freeze, isolate, release and kill as a user types them, on a real host: one, many, and with the plane dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import Host, until
from tests.knock import KNOCK

pytestmark = pytest.mark.root


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        server.settimeout(5)
        yield server


def start(host: Host, name: str, *command: str, label: str = "kind=test") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        host.command("run", "-q", "--name", name, "-l", label, "--", *command),
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: [each for each in host.json("ps") if each["name"] == name])
    return process


def end(host: Host, *running: subprocess.Popen[bytes]) -> None:
    host.rubicon("kill", "--all", "--yes")
    for process in running:
        process.wait(timeout=60)


def heard(server: socket.socket) -> bool:
    """A byte comes within half a second."""
    server.settimeout(0.5)
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return False
    with connection:
        connection.settimeout(0.5)
        try:
            return bool(connection.recv(10))
        except (TimeoutError, ConnectionResetError):
            return False


def silent(server: socket.socket) -> bool:
    """What was under way before has been heard, and nothing comes any more."""
    deadline = time.monotonic() + 5
    while heard(server):
        assert time.monotonic() < deadline, "bytes go on coming"
    return not heard(server)


def state(host: Host, name: str) -> tuple[bool, bool]:
    agent = next(each for each in host.json("ps") if each["name"] == name)
    return agent["frozen"], agent["isolated"]


def test_isolate_and_release(host: Host, outside: socket.socket) -> None:
    running = start(host, "talks", "/usr/bin/python3", "-S", "-c", KNOCK, str(outside.getsockname()[1]))
    assert heard(outside)
    [response] = host.json("isolate", "talks", "--reason", "it talks")
    assert (response["action"], response["state"], response["reason"]) == ("isolate", "verified", "it talks")
    assert silent(outside)
    until(lambda: state(host, "talks") == (False, True))
    assert "isolated" in host.rubicon("ps").stdout
    events = host.json("events", "talks", "--kind", "contain")
    assert events[0]["contain"]["isolated"]
    assert "uid 0" in events[0]["contain"]["requested_by"] or "root" in events[0]["contain"]["requested_by"]
    [response] = host.json("release", "talks")
    assert response["state"] == "verified"
    until(lambda: heard(outside))
    until(lambda: state(host, "talks") == (False, False))
    end(host, running)


@pytest.mark.parametrize("plane", ["through the plane", "--local"])
def test_one_process_is_isolated_and_its_agent_goes_on(host: Host, outside: socket.socket, plane: str) -> None:
    local = ["--local"] * (plane == "--local")
    with socket.create_server(("127.0.0.1", 0), backlog=100) as other:
        ports = [str(each.getsockname()[1]) for each in (outside, other)]
        script = 'for port; do python3 -S -c "$0" "$port" & done; wait'
        running = start(host, "talk", "sh", "-c", script, KNOCK, *ports)
        until(lambda: heard(outside) and heard(other))
        [pid] = [each["pid"] for each in host.json("tree", "talk") if each["argv"][-1] == ports[0]]
        assert [each["state"] for each in host.json("isolate", *local, "--process", str(pid))] == ["verified"]
        assert silent(outside)
        assert heard(other)
        assert state(host, "talk") == (False, False)  # not all of it
        assert [each["state"] for each in host.json("release", *local, "--process", str(pid))] == ["verified"]
        until(lambda: heard(outside))
        told = [each["action"] for each in host.json("audit", "list") if f"process {pid}" in each["target"]]
        assert set(told) == {"isolate", "release"}
    end(host, running)


def test_freeze_with_a_time(host: Host, outside: socket.socket) -> None:
    running = start(host, "busy", "/usr/bin/python3", "-S", "-c", KNOCK, str(outside.getsockname()[1]))
    assert heard(outside)
    [response] = host.json("freeze", "busy", "--ttl", "3")
    assert (response["action"], response["state"]) == ("freeze", "verified")
    assert response["expires_at"]
    assert silent(outside)
    until(lambda: heard(outside))
    until(lambda: state(host, "busy") == (False, False))
    end(host, running)


def test_with_the_plane_dead(host: Host, outside: socket.socket) -> None:
    running = start(host, "alone", "/usr/bin/python3", "-S", "-c", KNOCK, str(outside.getsockname()[1]))
    os.kill(host.daemon("supervisor"), signal.SIGSTOP)  # so that it does not start another plane
    plane = host.daemon("rubicon-plane")
    os.kill(plane, signal.SIGKILL)
    try:
        assert host.rubicon("isolate", "alone").returncode == 3
        [response] = host.json("isolate", "alone", "--local")
        assert response["state"] == "verified"
        assert silent(outside)
        assert host.json("freeze", "alone", "--local")[0]["state"] == "verified"
        assert host.json("release", "alone", "--local")[0]["state"] == "verified"
        assert heard(outside)
        assert host.json("kill", "-l", "kind=test", "--local")[0]["state"] == "verified"
    finally:
        os.kill(host.daemon("supervisor"), signal.SIGCONT)
    running.wait(timeout=60)
    until(lambda: host.rubicon("ps").returncode == 0)


SENSOR, PLANE = "rubicon-sensor", "rubicon-plane"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("who", [(SENSOR,), (PLANE,), (SENSOR, PLANE)], ids="+".join)
def test_what_was_denied_stays_denied_without_a_gap(
    host: Host, outside: socket.socket, who: tuple[str, ...], how: signal.Signals
) -> None:
    running = start(host, "denied", "/usr/bin/python3", "-S", "-c", KNOCK, str(outside.getsockname()[1]))
    assert heard(outside)
    host.json("isolate", "denied")
    assert silent(outside)
    for _ in range(3 if how == signal.SIGKILL else 1):
        before = [host.daemon(each) for each in who]
        for pid in before:
            os.kill(pid, how)
        for each, pid in zip(who, before, strict=True):
            until(lambda each=each, pid=pid: host.daemon(each) not in (0, pid))
        until(lambda: host.rubicon("ps").returncode == 0)
        assert not heard(outside)
    assert state(host, "denied") == (False, True)
    host.json("release", "denied")
    until(lambda: heard(outside))
    end(host, running)


def test_many_by_label(host: Host) -> None:
    running = [start(host, f"one-of-{i}", "sleep", "100", label="job=rome-7") for i in range(5)]
    other = start(host, "another", "sleep", "100", label="job=other")
    dry = host.json("kill", "-l", "job=rome-7", "--dry-run")
    assert sorted(each["members"][0]["name"] for each in dry) == ["sleep"] * 5
    done = host.rubicon("kill", "-l", "job=rome-7")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed 1 processes") == 5
    assert [each["name"] for each in host.json("ps")] == ["another"]
    assert host.rubicon("kill", "-l", "job=nobody").returncode == 5
    assert host.rubicon("kill", "another", "-l", "job=other").returncode == 2
    assert host.rubicon("kill", "--all", input="n\n", stdin=None).returncode == 130
    end(host, *running, other)


def test_one_of_many_that_is_not_there(host: Host) -> None:
    running = start(host, "there", "sleep", "100")
    done = host.rubicon("freeze", "there", "nowhere")
    assert done.returncode == 6
    assert "no agent" in done.stdout
    host.rubicon("release", "there")
    end(host, running)


@pytest.mark.parametrize("ttl", ["0", "-5", "400d", "soon"])
def test_a_time_that_cannot_be(host: Host, ttl: str) -> None:
    assert host.rubicon("freeze", "any", "--ttl", ttl).returncode == 2


def test_an_allow_list_with_host_bits(host: Host) -> None:
    running = start(host, "listed", "sleep", "100")
    done = host.rubicon("isolate", "listed", "--allow", "10.0.0.1/8")
    assert done.returncode == 2
    assert "10.0.0.0/8" in done.stderr
    assert state(host, "listed") == (False, False)
    end(host, running)


def test_what_has_ended(host: Host) -> None:
    host.rubicon("run", "-q", "--name", "over", "--", "true")
    done = host.rubicon("isolate", "over")
    assert done.returncode in (4, 5)
    assert "ended" in done.stderr


def test_an_agent_cannot_reach_the_switch(host: Host, tmp_path: Path) -> None:
    script = f"RUBICON_INSTANCE={host.name} {host.command()[0]} release --all --yes; echo $? > {tmp_path}/status"
    host.rubicon("run", "-q", "--", "sh", "-c", script)
    assert (tmp_path / "status").read_text() == "4\n"
