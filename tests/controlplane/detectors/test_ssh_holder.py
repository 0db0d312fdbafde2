"""The detector on told stories: who is named: the process whose socket carries the tunnel."""

from __future__ import annotations

import pytest

from tests.controlplane.builders import tcp
from tests.controlplane.detectors.story import CRITICAL, HIGH, LOGIN, OPENSSH, PIPE, SOCKET, Story


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


def test_a_socket_that_was_handed_over(story: Story) -> None:
    """ProxyUseFdpass: the proxy connects, gives its socket to the client over its standard output, and ends."""
    client = story.run(200, "ssh", "-oProxyUseFdpass=yes", "-R", "9000:h:80", "x")
    proxy = story.run(201, "fdpass", parent=client, stdio=SOCKET)
    flow = story.connect(proxy, 1)
    story.tell(story.kernel.exit(proxy))
    story.send(proxy, flow, OPENSSH)
    story.send(proxy, flow, OPENSSH, outbound=False)
    assert story.alert().process.key == client  # type: ignore[union-attr]
    story.packets(proxy, flow, *(size if outbound else -size for outbound, size in LOGIN))
    story.used(client, flow, owner=proxy)
    assert story.alert().severity == CRITICAL
    assert story.alert().process.key == client  # type: ignore[union-attr]


@pytest.mark.parametrize("asks", ["argv", "config"])
def test_a_proxy_that_does_not_show_ssh(story: Story, asks: str) -> None:
    words = ("-R", "9000:h:80") if asks == "argv" else ("-F", "file")
    client = story.run(200, "ssh", *words, "x")
    if asks == "config":
        story.config(client, "9000 h:80")
    proxy = story.run(201, "openssl", "s_client", "-quiet", parent=client, stdio=PIPE)
    flow = story.connect(proxy, 1)
    story.send(proxy, flow, b"\x16\x03\x01 hello")
    story.send(proxy, flow, b"\x16\x03\x03 hello", outbound=False)
    story.send(proxy, flow, b"\x14\x03\x03 finished")
    assert story.alerts() == []
    story.send(proxy, flow, b"\x17\x03\x03 data")
    alert = story.alert()
    assert alert.severity == HIGH
    assert alert.process.key == proxy  # type: ignore[union-attr]
    assert {item.kind for item in alert.evidence} == {asks, "wire"}


@pytest.mark.parametrize("words", [("ssh", "x"), ("rsync", "-R", "9000:h:80", "x:"), ("ssh", "-L", "9000:h:80", "x")])
def test_a_proxy_of_somebody_who_asks_for_nothing(story: Story, words: tuple[str, ...]) -> None:
    client = story.run(200, *words)
    proxy = story.run(201, "openssl", "s_client", "-quiet", parent=client, stdio=PIPE)
    flow = story.connect(proxy, 1)
    for _ in range(4):
        story.send(proxy, flow, b"\x17\x03\x03 data")
    assert story.alerts() == []


def test_a_proxy_that_is_asked_the_way_first(story: Story) -> None:
    """SOCKS: two messages, then the banner."""
    client = story.run(200, "ssh", "-R", "9000:h:80", "x")
    proxy = story.run(201, "nc", "-x", "proxy:1080", "x", "22", parent=client, stdio=PIPE)
    flow = story.connect(proxy, 1)
    story.send(proxy, flow, b"\x05\x01\x00")
    story.send(proxy, flow, b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16")
    assert story.alerts() == []
    story.send(proxy, flow, OPENSSH)
    assert {item.fields.get("what") for item in story.alert().evidence if item.kind == "wire"} == {"banner"}


@pytest.mark.parametrize("told", range(5))
def test_a_configuration_that_is_read_while_a_proxy_speaks_counts(story: Story, told: int) -> None:
    """Reading takes some sixty milliseconds; until then the proxy may have sent all the first bytes that are looked at."""
    client = story.run(200, "ssh", "-F", "tls.conf", "-N", "box")
    proxy = story.run(201, "tls_proxy", "8444", parent=client, stdio=PIPE)
    flow = story.connect(proxy, 5, port=8444)
    for number in range(4):
        if number == told:
            story.config(client, "9221 127.0.0.1:8000")
        story.send(proxy, flow, b"\x16\x03\x01\x02\x00\x01")
    if told == 4:
        assert story.alerts() == []
        story.config(client, "9221 127.0.0.1:8000")
    assert story.kinds() >= {"config"}
    assert story.alert().process.key == proxy


def test_a_proxys_connection_that_has_ended_is_not_held_against_a_later_reading(story: Story) -> None:
    client = story.run(200, "ssh", "-F", "tls.conf", "-N", "box")
    proxy = story.run(201, "tls_proxy", "8444", parent=client, stdio=PIPE)
    flow = story.connect(proxy, 5, port=8444)
    for _ in range(4):
        story.send(proxy, flow, b"\x16\x03\x01\x02\x00\x01")
    story.tell(story.kernel.flow(proxy, "close", flow))
    story.config(client, "9221 127.0.0.1:8000")
    assert story.alerts() == []
