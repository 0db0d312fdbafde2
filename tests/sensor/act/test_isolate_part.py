"""Isolation of one process with its descendants: it has no network, and the rest of its agent goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
from collections.abc import Iterator

import pytest

from rubicon.v1 import response_pb2
from sensor.act.containing import Containing
from sensor.errors import InvalidArgument, ProcessNotFound
from sensor.kernel.enums import AgentFlag, TagFlag
from tests.sensor.act.isolating import VERIFIED, accept, isolate, release
from tests.sensor.act.pair import Pair
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root
REFUSED = str(errno.EPERM)
BROKEN = {str(errno.EPIPE), str(errno.ECONNABORTED), str(errno.ECONNRESET)}
DONE = "None"


@pytest.fixture
def pair(stage: Stage) -> Pair:
    return Pair(stage)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with listening("tcp") as made:
        yield made


def listening(kind: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262 if kind == "mptcp" else 0)
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


def received(connection: socket.socket) -> int:
    """Bytes until nothing comes any more, or it is cut; an orderly end is neither."""
    count = 0
    while True:
        try:
            data = connection.recv(1 << 20)
        except (TimeoutError, ConnectionResetError):
            return count
        assert data, "an orderly end"
        count += len(data)


def unread(connection: socket.socket) -> int:
    """Bytes that have come and were not read yet."""
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_one_is_refused_and_cut_and_the_other_goes_on(
    stage: Stage, pair: Pair, server: socket.socket, way: str
) -> None:
    port = server.getsockname()[1]
    assert pair("one", "connect", "tcp", port) == DONE
    cut = accept(server)
    assert pair("two", "connect", "tcp", port) == DONE
    kept = accept(server)
    response = pair.isolate("one")
    assert (response.state, response.destroyed) == (VERIFIED, 1), str(response)
    assert response.target.process.pid == pair.pid("one")
    with pytest.raises(ConnectionResetError):
        cut.recv(1)
    assert pair("one", "send", "tcp") in BROKEN
    for kind in ("tcp", "udp", "mptcp"):
        assert pair("one", "connect", kind, port) == REFUSED
        assert pair("two", "connect", kind, port) == DONE
    assert pair("one", "sendto", "udp", port) == REFUSED
    assert pair("two", "sendto", "udp", port) == "1"
    stage.watch.sweep()
    kept.sendall(b"x")
    assert pair("two", "connect", "tcp", port) == DONE
    told = stage.events[-1].contain
    assert (told.action, told.process.pid, told.isolated) == (response_pb2.ACTION_ISOLATE, pair.pid("one"), False)


def test_whoever_it_makes_is_isolated_from_birth(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    pair.isolate("one")
    assert pair("one", "orphan") == DONE
    assert pair("one", "connect", "tcp", port) == REFUSED
    stage.watch.sweep()
    stage.restart()
    stage.watch.sweep()
    pair.agent = stage.registry.find(pair.agent.id)
    assert pair("one", "connect", "tcp", port) == REFUSED
    assert pair("two", "connect", "tcp", port) == DONE
    assert "network given back" in release(stage, pair.agent).steps[0]
    assert pair("one", "connect", "tcp", port) == DONE


def test_it_stays_while_no_sensor_lives(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    pair.isolate("one")
    stage.die()
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, DONE]
    stage.instance.state_dir.joinpath("agents.json").unlink()
    stage.revive()
    agent = next(iter(stage.registry))
    assert agent.isolated_parts, "the kernel knows it where the registry is lost"
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, DONE]
    release(stage, agent)
    assert pair("one", "connect", "tcp", port) == DONE


def test_what_the_rest_hands_over_is_taken_from_both(stage: Stage, pair: Pair, server: socket.socket) -> None:
    pair.isolate("one")
    assert pair("two", "connect", "tcp", server.getsockname()[1]) == DONE
    connection = accept(server)
    assert pair("two", "give") == "1"
    assert pair("one", "take") == DONE
    stage.watch.sweep()
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert pair("two", "send") in BROKEN


@pytest.mark.needs("handed")
@pytest.mark.parametrize("kind", ["tcp", "mptcp"])
def test_not_a_byte_leaves_through_what_was_handed_over(stage: Stage, pair: Pair, kind: str) -> None:
    pair.isolate("one")
    with listening(kind) as server:
        assert pair("two", "connect", kind, server.getsockname()[1]) == DONE
        connection = accept(server)
        pair("two", "give", kind)
        pair("one", "take", kind)
        for _ in range(2):
            pair("one", "send", kind)
            connection.settimeout(0.5)
            with pytest.raises((TimeoutError, ConnectionResetError)):
                connection.recv(1)
            stage.watch.sweep()


def test_what_waits_in_a_socket_that_is_closed_leaves_with_nobody(stage: Stage, pair: Pair, way: str) -> None:
    with listening("tcp") as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert pair("one", "connect", "tcp", server.getsockname()[1]) == DONE
        connection = accept(server)
        assert int(pair("one", "fill")) > 100_000
        assert pair("one", "close") == DONE
        assert pair.isolate("one").state == VERIFIED
        there = unread(connection)
        stage.watch.sweep()
        connection.settimeout(1)
        assert received(connection) <= there < 100_000


def test_what_waits_to_be_accepted_is_cut(stage: Stage, pair: Pair, way: str) -> None:
    with socket.create_connection(("127.0.0.1", int(pair("one", "listen"))), timeout=2) as waiting:
        pair.isolate("one")
        waiting.settimeout(0.5)
        assert received(waiting) == 0


def test_a_socket_whose_maker_has_ended(stage: Stage, pair: Pair, server: socket.socket, way: str) -> None:
    port = server.getsockname()[1]
    connections = {}
    for who in ("one", "two"):
        assert pair(who, "connect", "tcp", port) == DONE
        connections[who] = accept(server)
        assert pair(who, "orphan") == DONE
    pair.isolate("one")
    with pytest.raises(ConnectionResetError):
        connections["one"].recv(1)
    assert pair("two", "send") == "100"
    assert connections["two"].recv(1000)
    stage.watch.sweep()
    assert pair("two", "send") == "100"
    assert connections["two"].recv(1000)


def test_who_descends_by_the_planes_word(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    order = Containing(descendants=[stage.key(pair.pid("two"))])
    stage.containment.isolate(pair.agent, order, stage.key(pair.pid("one")))
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, REFUSED]
    tag = stage.kernel.tags.get(pair.pid("two"))
    assert tag
    assert stage.kernel.tags.flag(pair.pid("two"), pair.agent.number, tag.start_time, off=TagFlag.PART)
    stage.watch.sweep()
    assert pair("two", "connect", "tcp", port) == REFUSED


def test_while_it_makes_processes_without_end(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    assert pair("one", "churn") == DONE
    for _ in range(5):
        assert pair.isolate("one").state == VERIFIED
        assert pair("one", "connect", "tcp", port) == REFUSED
        release(stage, pair.agent)
        assert pair("one", "connect", "tcp", port) == DONE
        assert pair.isolate("two").state == VERIFIED
        assert pair("one", "connect", "tcp", port) == DONE
        assert pair.release("two").state == VERIFIED


def test_who_is_isolated_has_ended(stage: Stage, pair: Pair, server: socket.socket) -> None:
    pair.isolate("one")
    pair("one", "exit")

    def over() -> bool:
        stage.watch.sweep()
        return not pair.agent.isolated

    until(over)
    assert stage.events[-1].contain.reason == "who was isolated has ended"
    stage.watch.sweep()
    assert not stage.kernel.is_isolating
    assert pair("two", "connect", "tcp", server.getsockname()[1]) == DONE


def test_a_sensor_that_died_half_way_to_the_whole(stage: Stage, pair: Pair, server: socket.socket) -> None:
    pair.isolate("one")
    stage.registry.change(pair.agent.id, isolated_parts=[])
    stage.restart()
    pair.agent = stage.registry.find(pair.agent.id)
    assert pair.agent.wholly_isolated
    assert pair("two", "connect", "tcp", server.getsockname()[1]) == REFUSED


def test_a_listener_of_its_own_hears_nothing(stage: Stage, pair: Pair) -> None:
    ports = {who: int(pair(who, "listen")) for who in ("one", "two")}
    pair.isolate("one")
    socket.create_connection(("127.0.0.1", ports["two"]), timeout=2).close()
    with pytest.raises((TimeoutError, ConnectionRefusedError)):
        socket.create_connection(("127.0.0.1", ports["one"]), timeout=0.5)


def test_what_may_be_reached_is_for_the_part_alone(stage: Stage, pair: Pair, server: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        pair.isolate("one", allow=[f"127.0.0.1:{server.getsockname()[1]}"])
        assert pair("one", "connect", "tcp", server.getsockname()[1]) == DONE
        assert pair("one", "connect", "tcp", other.getsockname()[1]) == REFUSED
        assert pair("two", "connect", "tcp", other.getsockname()[1]) == DONE


def test_released_by_itself(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    pair.isolate("one")
    assert pair.release("two").steps == ["nothing was in force"]
    assert pair("one", "connect", "tcp", port) == REFUSED
    assert "network given back" in pair.release("one").steps[0]
    assert pair("one", "connect", "tcp", port) == DONE
    assert not pair.agent.isolated
    # marks of an isolation that is over do not count for another
    pair.isolate("two")
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [DONE, REFUSED]


@pytest.mark.parametrize("kind", ["tcp", "mptcp"])
def test_a_socket_that_was_marked_once_is_not_for_ever(stage: Stage, pair: Pair, kind: str) -> None:
    with listening(kind) as server:
        pair.isolate("one", allow_loopback=True)
        assert pair("one", "connect", kind, server.getsockname()[1]) == DONE
        connection = accept(server)
        pair.release("one")
        pair.isolate("two")
        stage.watch.sweep()
        assert pair("one", "send", kind) == "100"
        assert connection.recv(1000)


def test_two_of_them(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    pair.isolate("one")
    pair.isolate("two")
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, REFUSED]
    with pytest.raises(InvalidArgument, match="1 others are isolated with it"):
        pair.release("one")
    stage.restart()
    pair.agent = stage.registry.find(pair.agent.id)
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, REFUSED]
    release(stage, pair.agent)
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [DONE, DONE]


def test_part_and_whole(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port = server.getsockname()[1]
    pair.isolate("one")
    isolate(stage, pair.agent)
    assert pair("two", "connect", "tcp", port) == REFUSED
    with pytest.raises(InvalidArgument, match="isolated with agent"):
        pair.isolate("one")
    release(stage, pair.agent)
    pair.isolate("two")
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [DONE, REFUSED]


def test_a_mark_that_is_taken_away_comes_back(stage: Stage, pair: Pair, server: socket.socket) -> None:
    port, pid = server.getsockname()[1], pair.pid("one")
    pair.isolate("one")
    tag = stage.kernel.tags.get(pid)
    assert tag
    assert stage.kernel.tags.delete(pid)
    assert stage.kernel.tags.add(pid, tag.agent, tag.start_time, 0)
    stage.watch.sweep()
    assert pair("one", "connect", "tcp", port) == REFUSED
    stage.kernel.agents.set_flags(pair.agent.number, off=AgentFlag.ISOLATED | AgentFlag.PART)
    stage.containment.adopt()
    assert [pair(who, "connect", "tcp", port) for who in ("one", "two")] == [REFUSED, DONE]


def test_only_its_own_ungoverned_sockets_are_named(stage: Stage, pair: Pair) -> None:
    assert pair("two", "packet") == DONE
    assert pair.isolate("one", strict=True).state == VERIFIED
    stage.watch.sweep()
    assert not [event for event in stage.events if event.HasField("tamper")]
    assert pair("one", "packet") == DONE
    pid = pair.pid("one")

    def told() -> list[int]:
        stage.watch.sweep()
        return [event.process.pid for event in stage.events if event.HasField("tamper")]

    until(told)
    assert told() == [pid]


def test_its_time_is_over(stage: Stage, pair: Pair, server: socket.socket) -> None:
    order = Containing(ttl_ns=1)
    stage.containment.isolate(pair.agent, order, stage.key(pair.pid("one")))

    def over() -> bool:
        stage.watch.sweep()
        return not pair.agent.isolated

    until(over)
    assert pair("one", "connect", "tcp", server.getsockname()[1]) == DONE


def test_a_stranger_is_nobodys_part(stage: Stage, pair: Pair) -> None:
    with pytest.raises(ProcessNotFound):
        stage.containment.isolate(pair.agent, Containing(), stage.key(os.getpid()))
    assert not pair.agent.isolated
    response = stage.containment.isolate(pair.agent, Containing(dry_run=True), stage.key(pair.pid("one")))
    assert [member.id.pid for member in response.members] == [pair.pid("one")]
    assert not pair.agent.isolated
