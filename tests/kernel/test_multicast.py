"""cgroup/setsockopt: an isolated agent tells the network of no group, by the socket that it has."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from tests.kernel.network import NetworkAgent

pytestmark = pytest.mark.root
_OPTIONS = """
import socket
with socket.socket(int(sys.argv[1]), socket.SOCK_DGRAM) as s:
    print(flush=True)
    sys.stdin.buffer.read(1)
    for word in sys.argv[2:]:
        level, option, value = word.split(":")
        try:
            s.setsockopt(int(level), int(option), bytes.fromhex(value))
            print(0)
        except OSError as error:
            print(error.errno)
"""
LOOPBACK = socket.if_nametoindex("lo")
GROUP4 = socket.inet_aton("239.7.7.7") + socket.inet_aton("127.0.0.1")
GROUP6 = socket.inet_pton(socket.AF_INET6, "ff05::7") + struct.pack("I", LOOPBACK)
EITHER4 = struct.pack("=I4xHH4s120x", LOOPBACK, socket.AF_INET, 0, GROUP4[:4])
EITHER6 = struct.pack("=I4xHHI16s104x", LOOPBACK, socket.AF_INET6, 0, 0, GROUP6[:16])
TELL = {
    socket.AF_INET: [(0, 35, GROUP4), (0, 36, GROUP4), (0, 42, EITHER4), (0, 45, EITHER4)],
    socket.AF_INET6: [(41, 20, GROUP6), (41, 21, GROUP6), (41, 42, EITHER6), (41, 45, EITHER6)],
}
"""IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP, MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP, and the same of IPv6."""


@pytest.mark.parametrize("family", TELL)
def test_multicast_is_refused_to_an_isolated_agent(network: NetworkAgent, family: socket.AddressFamily) -> None:
    harmless = (socket.SOL_SOCKET, socket.SO_RCVBUF, struct.pack("I", 10_000))
    long = (socket.SOL_SOCKET, socket.SO_RCVBUF, struct.pack("I", 10_000) + bytes(10_000))
    words = [f"{level}:{option}:{value.hex()}" for level, option, value in (*TELL[family], harmless, long)]

    def tried(*, tag: bool = True) -> list[int]:
        child = network.python(_OPTIONS, int(family), *words, tag=tag)
        child.go()
        child.line()
        if isolated:
            network.isolate()
        child.finish()
        return [int(each) for each in child.output.split()]

    isolated = False
    network.kernel.isolating(True)
    try:
        assert tried() == [0] * 6
        isolated = True
        assert tried() == [errno.EPERM] * 4 + [0, 0]
        assert tried(tag=False) == [0] * 6, "others join as they like"
    finally:
        network.kernel.isolating(False)
