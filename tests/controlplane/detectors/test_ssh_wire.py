"""What a key exchange in the clear tells, and the sizes of packets; sizes as OpenSSH 9.2 was seen to send them."""

from __future__ import annotations

import pytest

from controlplane.detectors._ssh.later import Later
from controlplane.detectors._ssh.shape import Shape
from controlplane.detectors._ssh.wire import MODES, Mode, Side, modes_of

MS = 1_000_000
CHACHA, GCM = MODES[0], MODES[1]


def message(number: int, length: int = 200) -> bytes:
    return length.to_bytes(4, "big") + b"\x04" + bytes([number]) + bytes(length - 2)


def test_sizes_as_seen() -> None:
    assert [CHACHA.size(n) for n in (1, 17, 24, 34, 36)] == [28, 44, 52, 60, 68]
    assert [GCM.size(n) for n in (1, 17, 24, 34, 36)] == [36, 52, 52, 68, 68]
    assert Mode(16, False, 32).size(1) == 48


@pytest.mark.parametrize("mode", MODES)
def test_service_accept_is_16_above_the_smallest_in_every_mode(mode: Mode) -> None:
    assert mode.size(17) == mode.size(1) + 16
    assert mode.size(17) <= mode.size(24)
    assert mode in modes_of(mode.size(1))


@pytest.mark.parametrize(("number", "role"), [(30, "client"), (34, "client"), (31, "server"), (33, "server")])
def test_role(number: int, role: str) -> None:
    side = Side()
    side.feed(0, b"SSH-2.0-OpenSSH_9.2p1\r\n")
    side.feed(23, message(20, 1500)[:256])
    side.feed(23 + 1504, message(number)[:256])
    assert side.banner == "SSH-2.0-OpenSSH_9.2p1"
    assert side.role == role


def test_banner_and_key_exchange_in_one_packet() -> None:
    side = Side()
    side.feed(0, (b"SSH-2.0-x\r\n" + message(20, 100) + message(31))[:256])
    assert side.role == "server"


def test_banner_in_pieces() -> None:
    side = Side()
    for at, piece in enumerate((b"S", b"S", b"H", b"-2.0-x\r\n")):
        side.feed(at, piece)
    assert side.banner == "SSH-2.0-x"


def test_banner_behind_a_proxy() -> None:
    side = Side()
    side.feed(0, b"CONNECT x:22 HTTP/1.1\r\n\r\n")
    side.feed(25, b"SSH-2.0-x\r\n")
    side.feed(36, message(30))
    assert (side.banner, side.role) == ("SSH-2.0-x", "client")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"", b"SS", b"X SSH-2.0"])
def test_no_banner(data: bytes) -> None:
    side = Side()
    side.feed(0, data)
    assert side.banner == ""


def test_nonsense_after_the_banner_decides_nothing() -> None:
    side = Side()
    side.feed(0, b"SSH-2.0-x\r\n" + b"\xff" * 200)
    side.feed(211, message(31))
    assert side.role == ""
    assert side.over


LOGIN = [(True, 44), (False, 44), (True, 60), (False, 68), (True, 140), (False, 100), (True, 308), (False, 28)]
LOGIN_GCM = [(True, 52), (False, 52), (True, 68), (False, 68), (True, 148), (False, 100), (True, 308), (False, 36)]


def run(packets: list[tuple[bool, int]], gap_ms: float = 1, *, one_write: bool = False) -> str:
    shape = Shape(one_write=one_write)
    found = [shape.packet(int(at * gap_ms * MS), outbound, length) for at, (outbound, length) in enumerate(packets)]
    assert sum(map(bool, found)) <= 1
    return "".join(found)


@pytest.mark.parametrize(
    "packets",
    [
        [*LOGIN, (True, 68), (True, 60)],  # ssh -N -R
        [*LOGIN, (True, 68), (False, 552), (True, 112)],  # ssh -R
        [*LOGIN, (True, 68), (True, 68), (True, 60), (True, 52)],  # two forwards
        [*LOGIN, (True, 68), (False, 28)],  # dbclient -N -R, a server that adds nothing
        [*LOGIN, (True, 52), (True, 112)],  # ssh -R '*:9000:…'
        [*LOGIN_GCM, (True, 68), (False, 568), (True, 120)],
        [*LOGIN_GCM, (True, 68), (False, 36)],
    ],
)
def test_forward_requests(packets: list[tuple[bool, int]]) -> None:
    assert "remote-forward" in run(packets)


@pytest.mark.parametrize(
    "packets",
    [
        [*LOGIN, (True, 112), (False, 552), (False, 200), (True, 52), (False, 72), (True, 36)],  # ssh host command
        [*LOGIN, (True, 60), (False, 552), (False, 156)],  # ssh -N
        [*LOGIN, (True, 60), (True, 52), (False, 28)],  # ssh -N, and its keepalive at once
        [*LOGIN, (True, 52), (True, 60), (False, 44)],  # a session, and a request on it
        [*LOGIN_GCM, (True, 68), (False, 568), (False, 164)],  # ssh -N
        [*LOGIN, (True, 152), (False, 552), (False, 200), (True, 36)],  # ssh -W
        [*LOGIN, (True, 92), (False, 44), (True, 60)],  # a direct-tcpip channel
        [*LOGIN, (True, 52), (False, 44), (True, 60), (False, 28)],  # a session first
        [*LOGIN_GCM, (True, 52), (False, 52), (True, 68), (False, 36)],
        [*LOGIN, (True, 52), (False, 528), (False, 72), (True, 60), (True, 36), (True, 36)],  # dbclient host command
        LOGIN,
        [(True, 28)] * 30,
        [(False, 28), (False, 44)] * 60,
    ],
)
def test_other_beginnings(packets: list[tuple[bool, int]]) -> None:
    assert run(packets) == ""


def test_keepalives_are_no_request() -> None:
    """`ssh -N` with ServerAliveInterval 1: the sizes fit, the times do not."""
    assert run([*LOGIN, (True, 60), (True, 52), (False, 28)], gap_ms=1000) == ""
    assert run([*LOGIN, (True, 52), (False, 28)], gap_ms=1000) == ""


def test_a_request_of_a_sessions_size() -> None:
    """`ssh -N -R '*:9000:…'`: what follows tells, where it is known how the client writes."""
    packets = [*LOGIN, (True, 52), (True, 60), (False, 552)]
    assert "remote-forward" in run(packets, one_write=True)
    assert run(packets) == ""
    assert "remote-forward" in run([*LOGIN, (True, 52), (True, 60), (False, 28)])


def test_a_first_packet_that_is_nothing_else() -> None:
    """dbclient, asyncssh: no waiting for an answer, which may come together with the first use."""
    assert "nothing else" in run([*LOGIN, (True, 68)])
    assert "nothing else" in run([*LOGIN, (True, 36), (True, 68)])
    assert run([*LOGIN_GCM, (True, 68)]) == ""
    assert run([*LOGIN, (True, 76)]) == ""
    assert run([*LOGIN, (True, 68)], gap_ms=30) == ""


@pytest.mark.parametrize("first", [100, 92, 180])
def test_streamlocal_forward(first: int) -> None:
    """`ssh -N -R /path:…`, and the same size from one whose writes say nothing."""
    assert "remote-forward" in run([*LOGIN, (True, first), (True, 60), (False, 552)], one_write=True)
    assert run([*LOGIN, (True, first), (True, 60), (False, 552)]) == ""
    assert run([*LOGIN, (True, 112), (True, 60), (False, 552)], one_write=True) == ""


def later(packets: list[tuple[float, bool, int]], least: int = 28) -> str:
    found = Later()
    told = [found.packet(int(at * MS), outbound, size, least, modes_of(least)) for at, outbound, size in packets]
    return "".join(told)


def test_a_request_in_the_middle() -> None:
    """`ssh -O forward -R …` to a master that has been up for a minute."""
    assert "quiet" in later([(60_000, True, 68), (60_040, False, 28)])
    session = [(1, True, 52), (2, False, 44), (2, True, 60), (3, False, 72)]
    assert "quiet" in later([*session, (60_000, True, 68), (60_040, False, 28)])
    assert "quiet" in later([(60_000, True, 52), (60_001, False, 28), (61_000, True, 68), (61_001, False, 28)])


@pytest.mark.parametrize(
    "packets",
    [
        [(60_000, True, 52), (60_001, False, 28)],  # a keepalive
        [(60_000, True, 52), (60_050, True, 68), (60_100, False, 28)],  # its answer, after something typed
        [(60_000, True, 44), (60_001, True, 68), (60_002, False, 28)],  # not alone
        [(60_000, True, 68), (60_010, False, 44), (60_011, False, 28)],  # answered by something else
        [(60_000, True, 68), (70_000, False, 28)],
        [(60_000, True, 60), (60_001, False, 28)],  # a size of other modes, too
    ],
)
def test_other_things_in_the_middle(packets: list[tuple[float, bool, int]]) -> None:
    assert later(packets) == ""


def test_in_the_middle_where_the_smallest_packet_says_nothing() -> None:
    assert later([(60_000, True, 68), (60_001, False, 36)], least=36) == ""
