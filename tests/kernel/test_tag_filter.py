"""The filter before the tag hash: it may only ever say "perhaps" too often."""

from __future__ import annotations

import pytest

from tests.kernel.network import AGENT, NetworkAgent

pytestmark = pytest.mark.root

_SIZE = 16384
_SOCKET = "import socket\nsocket.socket()\n"


def test_tag_filter_keeps_a_process_whose_low_bits_another_shared(network: NetworkAgent) -> None:
    child = network.python(_SOCKET)
    double = child.pid + _SIZE
    for _ in range(3):
        assert network.kernel.tags.add(double, AGENT, 1, 0)
        network.kernel.tags.delete(double)
    child.finish()
    assert network.one("socket").process.pid == child.pid


def test_tag_filter_lets_a_stranger_with_the_same_low_bits_go(network: NetworkAgent) -> None:
    child = network.python(_SOCKET, tag=False)
    double = child.pid + _SIZE
    assert network.kernel.tags.add(double, AGENT, 1, 0)
    child.finish()
    network.run(_SOCKET)
    assert len(network.wait("socket")) == 1
    network.kernel.tags.delete(double)


def test_tag_filter_is_not_changed_by_a_second_claim_or_a_second_removal(network: NetworkAgent) -> None:
    child = network.python(_SOCKET)
    assert not network.kernel.tags.add(child.pid, AGENT + 1, child.start_time, 0)
    double = child.pid + _SIZE
    network.kernel.tags.delete(double)
    network.kernel.tags.delete(double)
    child.finish()
    assert network.one("socket").process.pid == child.pid
