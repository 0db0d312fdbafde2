"""cgroup/connect_unix: who listens where an agent connects, whose he is, and by which names he is found."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2, ids
from sensor.kernel.enums import AgentFlag
from tests.kernel.network import AGENT, OWN_NAMESPACE, NetworkAgent

pytestmark = [pytest.mark.root, pytest.mark.needs("unix_connect")]

NOBODY, FOUND, UNKNOWN = event_pb2.PEER_STATE_NOBODY, event_pb2.PEER_STATE_FOUND, event_pb2.PEER_STATE_UNKNOWN
_CONNECT = """
import os, socket
if len(sys.argv) > 3:
    os.chdir(sys.argv[3])
s = socket.socket(socket.AF_UNIX, int(sys.argv[2]))
print(s.connect_ex(sys.argv[1].replace("@", "\\0")))
"""
_SERVES = """
import os, socket
path = sys.argv[1].replace("@", "\\0")
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
client = socket.socket(socket.AF_UNIX)
print(client.connect_ex(path))
"""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A socket on which this process, which is nobody's, listens."""
    path = tmp_path / "run/broker.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


def asked(network: NetworkAgent) -> event_pb2.UnixConnect:
    return network.one("unix_connect").unix_connect


def test_unix_connect_names_who_listens(network: NetworkAgent, outside: Path) -> None:
    assert network.run(_CONNECT, str(outside), 1).output == "0"
    event = asked(network)
    assert event.peer_state == FOUND
    assert event.peer.pid == os.getpid()
    task = network.kernel.task(os.getpid())
    assert task
    assert event.peer.start_time_ns == task.start_time
    assert event.peer_comm == Path("/proc/self/comm").read_text().strip()
    assert not event.peer_agent_id


def test_unix_connect_finds_nobody(network: NetworkAgent, outside: Path) -> None:
    stale = outside.with_name("stale.sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(stale))
    assert network.run(_CONNECT, str(stale), 1).output == str(errno.ECONNREFUSED)
    event = asked(network)
    assert (event.peer_state, event.peer.pid, event.peer_comm) == (NOBODY, 0, "")


def test_unix_connect_knows_the_agents_own_server(network: NetworkAgent, tmp_path: Path) -> None:
    child = network.run(_SERVES, str(tmp_path / "own.sock"))
    event = asked(network)
    assert child.output == "0"
    assert (event.peer_state, event.peer.pid, event.peer_agent_id) == (FOUND, child.pid, ids.agent_id(AGENT))


def test_unix_connect_knows_an_abstract_name_whole(network: NetworkAgent) -> None:
    name = f"rubicon-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        network.run(_CONNECT, f"@{name}", 1)
        assert asked(network).peer.pid == os.getpid()
        network.run(_CONNECT, "@" + name[3:], 1)
        assert network.of("unix_connect")[-1].unix_connect.peer_state == NOBODY


def test_unix_connect_by_a_longer_or_a_relative_path(network: NetworkAgent, outside: Path, tmp_path: Path) -> None:
    """As /var/run/docker.sock is /run/docker.sock: a name is compared from its end, by whole components."""
    (tmp_path / "var").symlink_to(tmp_path)
    network.run(_CONNECT, outside.name, 1, outside.parent)
    assert asked(network).peer.pid == os.getpid(), "relative"
    network.run(_CONNECT, f"/x{outside}", 1)
    assert network.of("unix_connect")[-1].unix_connect.peer.pid == os.getpid(), "longer"
    network.run(_CONNECT, str(outside)[1:], 1)
    assert network.of("unix_connect")[-1].unix_connect.peer.pid == os.getpid(), "shorter"
    network.run(_CONNECT, outside.name[3:], 1)
    assert network.of("unix_connect")[-1].unix_connect.peer_state == NOBODY, "half a component"


def test_unix_connect_prefers_a_stranger_to_the_agents_own(network: NetworkAgent, tmp_path: Path) -> None:
    """A decoy of the same name hides nobody: the agent renames its own, and a stranger binds the name anew."""
    path = tmp_path / "contested.sock"
    code = f"{_SERVES}\nos.rename(path, path + '.away')\nprint('away', flush=True)\nsys.stdin.read(1)\n"
    held = network.python(code, path)
    held.go()
    assert held.line() == "0"
    assert held.line() == "away"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        network.run(_CONNECT, str(path), 1)
        assert network.of("unix_connect")[-1].unix_connect.peer.pid == os.getpid()


def test_unix_connect_from_another_network_namespace(network: NetworkAgent, outside: Path) -> None:
    """A path leads out of it; an abstract name does not."""
    child = network.run(OWN_NAMESPACE + _CONNECT, str(outside), 1)
    assert child.output == "0"
    assert asked(network).peer.pid == os.getpid()


def test_unix_connect_of_a_datagram_socket_looks_for_nobody(network: NetworkAgent, outside: Path) -> None:
    network.run(_CONNECT, str(outside), 2)
    assert asked(network).peer_state == UNKNOWN


def test_unix_connect_of_another_type_is_nobodys(network: NetworkAgent, outside: Path) -> None:
    """A stream server is none for SOCK_SEQPACKET."""
    assert network.run(_CONNECT, str(outside), 5).output == str(errno.EPROTOTYPE)
    assert asked(network).peer_state == NOBODY


def test_unix_connect_names_who_listens_when_it_is_refused(network: NetworkAgent, outside: Path) -> None:
    network.isolate(AgentFlag.NO_UNIX)
    assert network.run(_CONNECT, str(outside), 1).output == str(errno.EPERM)
    event = asked(network)
    assert event.refused
    assert event.peer.pid == os.getpid()
