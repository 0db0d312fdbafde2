"""A real tunnel, while sensor and plane are killed again and again: nothing is lost, and the alert comes, once."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.host import Host, until
from tests.e2e.ssh.world import SECRET, SECRET_PORT, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]  # others may hold the lock

SENSOR, PLANE = "rubicon-sensor", "rubicon-plane"
WORK = "n=0; while [ $n -lt {count} ]; do sh -c 'exit 7'; n=$((n + 1)); sleep 0.02; done; read _"
COUNT = 250
"""Short processes beside the tunnel: some seconds of them, for as long as the daemons die."""


@pytest.fixture
def tunnel(host: Host, world: World, request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """An agent of that name that works, and holds a tunnel to that port of the outside."""
    name, port = f"digs-{request.param}", 9400 + request.param
    options = shlex.join(world.options)
    dig = f"{world.dir}/worker1 {options} -N -R {port}:127.0.0.1:{SECRET_PORT} -p 443 root@127.0.0.1 & "
    command = [*world.enter, "sh", "-c", dig + WORK.format(count=COUNT)]
    with subprocess.Popen(
        host.command("run", "-q", "--privileged", "--name", name, "--kill-on-exit", "--", *command),
        env=host.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        assert running.stdin
        yield name, port
        running.stdin.close()


def killed(host: Host, who: tuple[str, ...]) -> None:
    """Return once all of these were killed and others are in their place."""
    before = {each: until(lambda each=each: host.daemon(each)) for each in who}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for each, pid in before.items():
        until(lambda each=each, pid=pid: host.daemon(each) not in (0, pid))


@pytest.mark.parametrize(
    ("tunnel", "who"),
    [(0, (SENSOR,)), (1, (PLANE,)), (2, (SENSOR, PLANE))],
    indirect=["tunnel"],
    ids=[SENSOR, PLANE, "both"],
)
def test_nothing_is_lost_and_the_alert_comes(
    host: Host, world: World, tunnel: tuple[str, int], who: tuple[str, ...]
) -> None:
    name, port = tunnel
    for _ in range(3):
        killed(host, who)
        assert SECRET.startswith(world.pull(port)[:1000] or b"nothing"), "the tunnel relays all the while"
    until(lambda: host.rubicon("tree", name).returncode == 0)  # the last plane knows it again

    def ended() -> list[dict[str, Any]]:
        return [each for each in host.json("events", name, "--kind", "exit") if each["exit"].get("status") == 7]

    until(lambda: len(ended()) >= COUNT)
    events = host.json("events", name)
    assert not [each for each in events if each["kind"] == "loss"]
    ran = [each for each in events if each["kind"] == "exec" and each["exec"]["argv"] == ["sh", "-c", "exit 7"]]
    assert (len(ran), len(ended())) == (COUNT, COUNT)
    numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for each in (event for agent in host.json("ps", "-a") for event in host.json("events", agent["id"])):
        numbers[each["record"]["epoch"], each["record"]["cpu"]].append(each["record"]["sequence"])
    for told in numbers.values():
        assert sorted(told) == [*range(1, max(told) + 1)], "every record of every CPU, once"
    found = [each for each in host.json("alerts", name) if each["detector"] == "ssh-remote-forward"]
    assert [each["severity"] for each in found] == ["critical"], "one, and it says that the tunnel is used"
