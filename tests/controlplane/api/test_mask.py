"""Secrets never leave the plane unasked, and what is stored stays whole."""

from __future__ import annotations

from controlplane.api import mask
from rubicon.v1 import event_pb2


def test_event_keeps_bytes_that_are_not_utf8_and_the_stored_one() -> None:
    event = event_pb2.Event(exec=event_pb2.Exec(argv=[b"x", b"\xff\xfe", "é".encode(), b"--token", b"abc"]))
    hidden = mask.event(event)
    assert list(hidden.exec.argv) == [b"x", b"\xff\xfe", "é".encode(), b"--token", b"***"]
    assert event.exec.argv[4] == b"abc"


def test_payload_header() -> None:
    data = b"GET / HTTP/1.1\r\nAuthorization: Bearer abc\r\nHost: h\r\n"
    hidden = mask.event(event_pb2.Event(payload=event_pb2.Payload(data=data)))
    assert hidden.payload.data == b"GET / HTTP/1.1\r\nAuthorization: Bearer ***\r\nHost: h\r\n"
