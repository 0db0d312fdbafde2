"""What a key exchange in the clear tells, and the sizes of packets; sizes as OpenSSH 9.2 was seen to send them."""

from __future__ import annotations

import pytest

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
