"""Trap: AF_PACKET and AF_VSOCK pass no cgroup hook.

Nothing is recorded and nothing is refused here, so it is the launch profile that keeps an agent from them: it withholds
CAP_NET_RAW and filters socket families. Where one of these tests fails the kernel has got a hook.
"""

from __future__ import annotations

import pytest

from tests.kernel.network import OWN_NAMESPACE, NetworkAgent

pytestmark = pytest.mark.root

_FRAME = """
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800))
packet.bind(('lo', 0))
payload = b'SSH-2.0-crafted'
ip = bytes([0x45, 0, 0, 28 + len(payload), 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1])
udp = bytes([0, 9, 0, 9, 0, 8 + len(payload), 0, 0])
packet.send(bytes(12) + bytes([8, 0]) + ip + udp + payload)
packet.settimeout(5)
print(payload in packet.recv(999))
"""


def test_af_packet_passes_no_hook(network: NetworkAgent) -> None:
    child = network.stopped(OWN_NAMESPACE, _FRAME)
    network.isolate()
    network.read()
    network.events.clear()
    child.finish()
    assert child.output == "True", "the frame was on the wire"
    assert {event.WhichOneof("kind") for event in network.read()} == {"exit"}


def test_af_vsock_passes_no_hook(network: NetworkAgent) -> None:
    child = network.run(
        "import socket\ntry:\n    socket.socket(40, socket.SOCK_STREAM)\n    print('made')\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    assert child.output in ("made", "Address family not supported by protocol")
    assert not network.of("socket")
