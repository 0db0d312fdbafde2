"""Isolation on the real kernel: refused, dropped and cut, for every way to a socket; and given back."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rubicon.v1 import event_pb2, response_pb2
from sensor.act.cgroup import Cgroup
from sensor.act.containing import Containing
from sensor.act.enrol import Facts
from sensor.errors import InvalidArgument
from sensor.kernel import host
from sensor.kernel.loader import Kernel
from sensor.kernel.upkeep import Found
from tests.sensor.act.isolating import VERIFIED, Client, accept, drain, isolate, release
from tests.sensor.act.stage import Stage, gone, until

pytestmark = pytest.mark.root


@pytest.fixture(params=["AF_INET", "AF_INET6"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = getattr(socket, request.param)
    with socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family) as made:
        made.settimeout(5)
        yield made


def test_new_flows_are_refused_and_old_ones_cut(stage: Stage, client: Client, server: socket.socket, way: str) -> None:
    where = (server.family.name, *server.getsockname()[:2])
    assert client("connect", "tcp", *where) == "0"
    connection = accept(server)
    assert client("send", "tcp", where[0]) == "0"
    assert connection.recv(1000)
    response = isolate(stage, client.agent)
    assert (response.state, response.destroyed) == (VERIFIED, 1), str(response)
    with pytest.raises(ConnectionResetError):
        connection.recv(1000)
    assert client("send", "tcp", where[0]) in (str(errno.EPIPE), str(errno.ECONNABORTED))
    for kind in ("tcp", "udp", "mptcp"):
        assert client("connect", kind, *where) == str(errno.EPERM)
    assert client("sendto", "udp", *where) == str(errno.EPERM)
    response = release(stage, client.agent)
    assert "destroyed connections stay destroyed" in response.steps[0]
    assert client("connect", "tcp", *where) == "0"


def test_it_is_said_to_be_applied_once_the_hooks_refuse(stage: Stage, client: Client, server: socket.socket) -> None:
    where = (server.family.name, *server.getsockname()[:2])
    assert client("connect", "tcp", *where) == "0"
    said: list[tuple[int, str]] = []
    order = Containing(applied=lambda so_far: said.append((so_far.state, client("connect", "tcp", *where))))
    assert stage.containment.isolate(client.agent, order).state == VERIFIED
    assert said == [(response_pb2.RESPONSE_STATE_APPLIED, str(errno.EPERM))]


def test_an_open_udp_socket_is_cut(stage: Stage, client: Client) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.2)
        assert client("connect", "udp", "AF_INET", *server.getsockname()) == "0"
        assert client("send", "udp") == "0"
        assert server.recvfrom(1000)
        isolate(stage, client.agent)
        client("send", "udp")
        client("send", "udp")
        with pytest.raises(TimeoutError):
            server.recvfrom(1000)


def test_what_is_allowed_goes_on(stage: Stage, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as good, socket.create_server(("127.0.0.1", 0)) as bad:
        port = good.getsockname()[1]
        assert client("connect", "tcp", "AF_INET", "127.0.0.1", port) == "0"
        connection = accept(good)
        isolate(stage, client.agent, allow=[f"127.0.0.0/8:{port}"])
        assert client("send", "tcp") == "0"
        assert connection.recv(1000)
        assert client("connect", "tcp", "AF_INET", *bad.getsockname()) == str(errno.EPERM)
        assert client("connect", "tcp", "AF_INET6", "::ffff:127.0.0.1", port) == "0"  # the same host
        assert client("connect", "tcp", "AF_INET", "127.0.0.1", port) == "0"
        isolate(stage, client.agent)
        assert client("connect", "tcp", "AF_INET", "127.0.0.1", port) == str(errno.EPERM)
        isolate(stage, client.agent, allow_loopback=True)
        assert client("connect", "tcp", "AF_INET", *bad.getsockname()) == "0"


def test_unix_sockets_that_the_kernel_cannot_refuse_are_said(
    stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.7. The network is taken all the same."""
    monkeypatch.setattr(Kernel, "refuses_unix", False)
    response = isolate(stage, client.agent, unix=True)
    assert response.state == response_pb2.RESPONSE_STATE_FAILED
    assert response.error.startswith("Unix sockets are not refused: this kernel has no hook")
    assert client("connect", "tcp", "AF_INET", "127.0.0.1", 9) == str(errno.EPERM)
    assert isolate(stage, client.agent).state == VERIFIED


def test_what_leads_elsewhere_is_cut_where_some_places_are_allowed(stage: Stage, client: Client, way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as good, socket.create_server(("::1", 0), family=10) as bad:
        assert client("connect", "tcp", "AF_INET", *good.getsockname()) == "0"
        assert client("connect", "tcp", "AF_INET6", *bad.getsockname()[:2]) == "0"
        kept, cut = accept(good), accept(bad)
        response = isolate(stage, client.agent, allow=[f"127.0.0.1:{good.getsockname()[1]}"])
        assert (response.state, response.destroyed) == (VERIFIED, 1), str(response)
        with pytest.raises(ConnectionResetError):
            cut.recv(1)
        assert client("send", "tcp", "AF_INET") == "0"
        assert kept.recv(1000)


def test_an_inherited_socket_is_cut_too(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        mine = socket.create_connection(server.getsockname())
        connection = accept(server)
        script = f"import os,time\ninput()\nwhile True: os.write({mine.fileno()}, b'x'); time.sleep(0.01)"
        child = subprocess.Popen(
            ["/usr/bin/python3", "-S", "-c", script],
            stdin=subprocess.PIPE,
            text=True,
            pass_fds=[mine.fileno()],
        )
        stage.children.append(child)
        agent = stage.enroller.launch(child.pid, Facts())
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
        mine.close()
        assert connection.recv(10)
        assert isolate(stage, agent).destroyed == 1
        with pytest.raises(ConnectionResetError):
            drain(connection)


def test_a_leaver_stays_isolated(stage: Stage, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        Cgroup.at("/").move(client.process.pid)
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"
        connection = accept(server)
        assert isolate(stage, client.agent).state == VERIFIED
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == str(errno.EPERM)


def test_a_listener_hears_nothing(stage: Stage) -> None:
    agent, child = stage.launch(
        "/usr/bin/python3", "-S", "-c",
        "import socket,time\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\ntime.sleep(60)",
    )  # fmt: skip
    assert child.stdout
    port = int(child.stdout.readline())
    socket.create_connection(("127.0.0.1", port), timeout=2).close()
    isolate(stage, agent)
    with pytest.raises((TimeoutError, ConnectionRefusedError)):
        socket.create_connection(("127.0.0.1", port), timeout=0.5)


def test_it_stays_while_no_sensor_lives_and_after_the_next_has_come(stage: Stage, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        isolate(stage, client.agent)
        stage.die()
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == str(errno.EPERM)
        stage.revive()
        agent = stage.registry.find(client.agent.id)
        assert agent.isolated
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == str(errno.EPERM)
        release(stage, agent)
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"


@pytest.mark.needs("handed")
def test_the_next_sensor_looks_after_what_only_an_isolation_attaches(stage: Stage, client: Client) -> None:
    isolate(stage, client.agent)
    assert stage.kernel.is_isolating
    stage.restart()
    assert stage.kernel.upkeep.look() == [], "its own programs are nobody else's"
    mounted = host.bpffs()
    assert mounted
    pin = mounted / stage.instance.name / "links/handed_egress"
    pin.unlink()
    assert stage.kernel.upkeep.look() == [Found("pin-removed", "handed_egress", restored=True)]
    assert pin.exists()
    release(stage, stage.registry.find(client.agent.id))
    stage.watch.sweep()
    assert (stage.kernel.is_isolating, stage.kernel.leavers_followed, pin.exists()) == (False, False, False)


def test_in_a_cgroup_below_its_own(stage: Stage, client: Client) -> None:
    below = Cgroup.at(f"{client.agent.cgroup_path}/below")
    below.make()
    below.move(client.process.pid)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"
        connection = accept(server)
        isolate(stage, client.agent)
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == str(errno.EPERM)


def test_its_time_is_over_also_for_the_next_sensor(stage: Stage, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        response = isolate(stage, client.agent, ttl_ns=3_000_000_000)
        assert response.expires_at.ToNanoseconds()
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == str(errno.EPERM)
        stage.restart()
        agent = stage.registry.find(client.agent.id)

        def over() -> bool:
            stage.watch.sweep()
            return not agent.isolated

        until(over)
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"
        told = [event.contain for event in stage.events if event.HasField("contain")]
        assert [each.isolated for each in told] == [True, False]
        assert told[-1].reason == "its time was over"


@pytest.mark.parametrize("family", ["AF_PACKET", "AF_VSOCK"])
def test_sockets_that_no_hook_governs(stage: Stage, family: str) -> None:
    script = (
        f"import socket,time\ns=socket.socket(socket.{family}, socket.SOCK_STREAM if '{family}' == 'AF_VSOCK' else 3)"
    )
    agent, child = stage.launch("/usr/bin/python3", "-S", "-c", script + "\nprint(flush=True)\ntime.sleep(60)")
    assert child.stdout
    child.stdout.readline()
    response = isolate(stage, agent)
    assert [(each.id.pid, family in each.why) for each in response.survivors] == [(child.pid, True)]
    stage.watch.sweep()
    stage.restart()
    stage.watch.sweep()
    assert not [event for event in stage.events if event.HasField("tamper")], "it was said already"
    agent = stage.registry.find(agent.id)
    assert response.state == response_pb2.RESPONSE_STATE_FAILED
    response = isolate(stage, agent, strict=True)
    assert (response.state, list(response.survivors)) == (VERIFIED, [])
    until(lambda: gone(child.pid) or child.poll() is not None)


@pytest.mark.parametrize("strict", [True, False])
def test_one_that_comes_later_is_told_and_ends_its_holder_where_asked(stage: Stage, strict: bool) -> None:
    script = "import socket,time\ninput()\ns=socket.socket(socket.AF_PACKET, 3)\ntime.sleep(60)"
    agent, child = stage.launch("/usr/bin/python3", "-S", "-c", script)
    assert isolate(stage, agent, strict=strict).state == VERIFIED
    stage.release(child)

    def told() -> list[event_pb2.Event]:
        stage.watch.sweep()
        return [event for event in stage.events if event.HasField("tamper")]

    until(told)
    until(lambda: told() and (child.poll() is not None or not strict))
    (event,) = told()
    assert (event.process.pid, event.tamper.action) == (child.pid, "ungoverned-socket")
    assert "AF_PACKET" in event.tamper.detail
    kills = [event.contain for event in stage.events if event.contain.action == response_pb2.ACTION_KILL]
    assert [(each.process.pid, each.requested_by) for each in kills] == [(child.pid, "rubicon-sensor")] * strict
    assert all("AF_PACKET" in each.reason for each in kills)
    assert (child.poll() is None) == (not strict)


def test_a_dry_run_touches_nothing(stage: Stage, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        response = stage.containment.isolate(client.agent, Containing(dry_run=True))
        assert [member.id.pid for member in response.members] == [client.process.pid]
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"
        assert not client.agent.isolated


@pytest.mark.parametrize(
    "allow", [["10.0.0.1/8"], ["example.org:80"], ["10.0.0.0/8:0"], ["10.0.0.0/8:"], ["1.1.1.1"] * 10_001]
)
def test_a_bad_allow_list_is_refused_whole(stage: Stage, client: Client, allow: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="allowed destination"):
        isolate(stage, client.agent, allow=allow)
    assert not client.agent.isolated


@pytest.mark.parametrize("ttl_ns", [-1, 367 * 86_400 * 10**9])
def test_a_time_that_cannot_be_is_refused(stage: Stage, client: Client, ttl_ns: int) -> None:
    with pytest.raises(InvalidArgument, match="ttl"):
        isolate(stage, client.agent, ttl_ns=ttl_ns)


def test_ten_thousand_networks(stage: Stage, client: Client) -> None:
    allow = [f"10.{i // 256}.{i % 256}.0/24:443" for i in range(9_999)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        isolate(stage, client.agent, allow=[*allow, f"127.0.0.1:{server.getsockname()[1]}"])
        assert client("connect", "tcp", "AF_INET", *server.getsockname()) == "0"
        assert client("connect", "tcp", "AF_INET", "10.255.0.1", 443) == str(errno.EPERM)


def test_in_a_network_namespace_of_its_own(stage: Stage, way: str) -> None:
    name = f"rubicon-t-{os.getpid()}-{secrets.token_hex(2)}"
    script = (
        "import socket,time\nl=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(l.getsockname())\n"
        "a=l.accept()[0]\nprint(flush=True)\n"
        "while True:\n try:\n  c.send(b'x'); time.sleep(0.01)\n except OSError as e:\n  print(e.errno,flush=True); break\n"
        "time.sleep(60)"
    )
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        agent, child = stage.launch("ip", "netns", "exec", name, "/usr/bin/python3", "-S", "-c", script)
        assert child.stdout
        child.stdout.readline()
        response = isolate(stage, agent)
        assert (response.state, response.destroyed) == (VERIFIED, 3)
        assert child.stdout.readline().strip() in (str(errno.ECONNABORTED), str(errno.EPIPE))
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
