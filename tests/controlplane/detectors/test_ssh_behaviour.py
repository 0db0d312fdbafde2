"""The detector on told stories: a forward in use, and what only looks like one."""

from __future__ import annotations

import random

import pytest

from rubicon.v1 import flow_pb2
from tests.controlplane.builders import tcp
from tests.controlplane.detectors.story import CHACHA, CRITICAL, HIGH, PIPE, Story


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


def test_a_client_that_waits_is_told_by_what_passes(story: Story) -> None:
    """It connects long after it was asked to: several sizes must agree, both ways."""
    client = story.run(200, "python3", "own.py")
    flow = story.ssh(client, banner=b"SSH-2.0-own\r\n")
    story.packets(client, flow, -100, 44)
    story.wait(400)
    near = story.connect(client, 2, "127.0.0.1", 8000)
    for received, answer in ((20, 30), (100, 130), (50, 90), (200, 230), (12, 77)):
        assert story.alerts() == []
        story.packets(client, flow, -CHACHA.size(9 + received))
        story.packets(client, near, received, -answer)
        story.packets(client, flow, CHACHA.size(9 + answer))
    assert story.alert().severity == CRITICAL


def test_a_child_that_connects_for_it(story: Story) -> None:
    client = story.run(200, "python3", "own.py")
    flow = story.ssh(client, banner=b"SSH-2.0-own\r\n")
    story.packets(client, flow, -100, 44)
    child = story.run(201, "nc", "127.0.0.1", "8000", parent=client, stdio=PIPE)
    near = story.connect(child, 2, "127.0.0.1", 8000)
    for received, answer in ((20, 30), (700, 1000), (50, 2000), (100, 40)):
        story.packets(client, flow, -CHACHA.size(9 + received))
        story.packets(child, near, received, -answer)
        story.packets(client, flow, CHACHA.size(9 + answer))
    alert = story.alert()
    assert alert.severity == CRITICAL
    assert alert.process.key == client  # type: ignore[union-attr]
    assert "its child" in alert.evidence[-1].text


def test_what_came_in_before_the_connect_is_no_data_for_it(story: Story) -> None:
    """An answer over SSH is passed on to a service in exactly its size, and the service's answer becomes a command."""
    client = story.run(200, "python3", "agent.py")
    flow = story.ssh(client, banner=b"SSH-2.0-paramiko_3.4\r\n")
    for cookie, size in enumerate((60, 100, 600, 2000), 10):
        story.packet(client, flow, CHACHA.size(9 + size), outbound=False)
        near = story.connect(client, cookie, "127.0.0.1", 8000)
        story.packets(client, near, size, -size)
        story.packets(client, flow, CHACHA.size(9 + size))
    assert story.alerts() == []


@pytest.mark.parametrize("inside", [False, True])
def test_the_client_behind_a_proxy_connects(story: Story, inside: bool) -> None:
    """The proxy holds the connection, the client the near end; with `ssh -W` SSH is inside of SSH."""
    client = story.run(200, "worker")
    proxy = story.run(201, *(("ssh", "-W", "x:22", "jump") if inside else ("nc", "x", "22")), parent=client, stdio=PIPE)
    flow = story.ssh(proxy)
    size = (lambda data: CHACHA.size(9 + CHACHA.size(9 + data))) if inside else (lambda data: CHACHA.size(9 + data))
    story.packet(proxy, flow, 180, outbound=False)
    near = story.connect(client, 2, "127.0.0.1", 8000)
    story.packet(proxy, flow, size(17), outbound=True)
    story.packet(proxy, flow, size(20), outbound=False)
    story.packets(client, near, 20, -3000)
    story.packets(proxy, flow, 2000, 1300)
    alert = story.alert()
    assert alert.severity == CRITICAL
    assert alert.process.key == proxy  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(12))
def test_sizes_that_agree_by_chance_are_silent(story: Story, seed: int) -> None:
    """A program does many things at once: it talks over SSH, to a database all the time, and to services now and then;
    never in a confirmation's size, which is the one false alarm that is known."""
    chance = random.Random(seed)
    client = story.run(200, "python3", "agent.py")
    flow = story.ssh(client, banner=b"SSH-2.0-AsyncSSH_2.18\r\n")
    database = story.connect(client, 2, "127.0.0.1", 5432)
    near = [database]
    for cookie in range(10, 310):
        for _ in range(4):
            size = chance.choice((chance.randint(12, 300), 60, 100))
            over_ssh = CHACHA.size(9 + size)
            match chance.randint(0, 3):
                case 0:
                    story.packets(client, flow, over_ssh)
                case 1:
                    story.packets(client, flow, -over_ssh)
                case 2:
                    story.packets(client, chance.choice(near), size)
                case 3:
                    story.packets(client, chance.choice(near), -size)
        if chance.random() < 0.3:
            near = [database, story.connect(client, cookie, "127.0.0.1", 8000)]
    assert story.alerts() == []


def test_a_fleet_in_step_is_silent(story: Story) -> None:
    """Connections of one program to many hosts carry the same at the same time."""
    client = story.run(200, "python3", "fleet.py")
    flows = [story.ssh(client, cookie, banner=b"SSH-2.0-AsyncSSH_2.18\r\n") for cookie in range(1, 6)]
    for size in (60, 700, 92, 1036, 100, 2000):
        for sign in (1, -1):
            for flow in flows:
                story.packets(client, flow, sign * size)
    assert story.alerts() == []
