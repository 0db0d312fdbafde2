"""Addresses as people read them."""

from __future__ import annotations

import socket

import pytest

from controlplane.model import Boot, Flow
from controlplane.model.flow import address_text


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        (socket.inet_pton(socket.AF_INET, "203.0.113.9"), 22, "203.0.113.9:22"),
        (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 443, "[2001:db8::1]:443"),
        (socket.inet_pton(socket.AF_INET6, "::ffff:10.0.0.1"), 80, "10.0.0.1:80"),
        (b"", 22, ""),
        (b"123", 22, ""),
    ],
)
def test_addresses_in_text(address: bytes, port: int, text: str) -> None:
    assert address_text(address, port) == text


@pytest.mark.parametrize(("number", "name"), [(6, "tcp"), (17, "udp"), (262, "mptcp"), (200, "200")])
def test_protocols_in_text(number: int, name: str) -> None:
    assert Flow(Boot("h", "b"), 1, "a", None, 0, 0, protocol=number).protocol_name == name
