"""cgroup/sendmsg_unix: the path of a datagram that goes to an AF_UNIX socket without a connect."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from sensor.kernel.enums import AgentFlag
from tests.kernel.network import NetworkAgent

pytestmark = [pytest.mark.root, pytest.mark.needs("unix_send")]

_SEND = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for name in sys.argv[1:]:
    try:
        print(s.sendto(b"x", name.replace("@", "\\0")))
    except OSError as error:
        print(-error.errno)
"""


def test_unix_send_has_the_path(network: NetworkAgent, tmp_path: Path) -> None:
    path = str(tmp_path / "log.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        child = network.run(_SEND, path)
        assert server.recv(9) == b"x"
    event = network.one("unix_send")
    assert (event.unix_send.path, event.unix_send.refused) == (path, False)
    assert event.unix_send.cookie
    assert event.process.pid == child.pid
    assert not network.of("unix_connect")


@pytest.mark.parametrize("path", ["@rubicon-abstract", "/" + "p" * 106], ids=["abstract", "longest"])
def test_unix_send_to_other_names(network: NetworkAgent, path: str) -> None:
    network.run(_SEND, path)
    assert network.one("unix_send").unix_send.path == path


def test_unix_send_to_known_paths_is_sampled(network: NetworkAgent) -> None:
    network.run(_SEND, *["/one", "/two", "@three", "/four"] * 64)
    network.wait("unix_send", count=4 + 6)
    # four new ones, and the 8th, 16th, … 256th datagram
    assert len(network.of("unix_send")) == 4 + 6


def test_unix_send_is_refused_to_an_isolated_agent(network: NetworkAgent, tmp_path: Path) -> None:
    path = str(tmp_path / "log.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        network.isolate()
        assert network.run(_SEND, path).output == "1"  # the network alone was taken
        assert server.recv(9) == b"x"
        network.isolate(AgentFlag.NO_UNIX)
        assert network.run(_SEND, path, path).output.split() == [str(-errno.EPERM)] * 2
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(9)
    assert [event.unix_send.refused for event in network.of("unix_send")] == [False, True, True]
