"""One event, with what a reader needs to place it."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from rubicon.client.records.enum import named
from rubicon.client.records.moment import moment, nanoseconds
from rubicon.v1 import event_pb2

_ADDRESSES = frozenset({"source", "destination"})
_REPEATED_TEXT = frozenset({"argv"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, when, to whom; `detail` has the fields of proto's message of that kind."""

    kind: str
    """exec, connect, …: a field of Event.kind (event.proto)."""
    time_ns: int
    """Wall clock, nanoseconds since 1970."""
    host: str
    boot_id: str
    agent_id: str
    """Empty for events about the host."""
    pid: int
    start_time: int
    """Of the process, nanoseconds since boot."""
    boot_time_ns: int
    """The same moment as time_ns, nanoseconds since boot."""
    record: tuple[int, int, int]
    """Identity on its host: (epoch, cpu, sequence)."""
    cursor: str
    """Resume after this event."""
    message: event_pb2.Event

    @property
    def time(self) -> datetime:
        """Wall-clock time."""
        found = moment(self.time_ns)
        assert found is not None  # every event has one
        return found

    @property
    def detail(self) -> dict[str, Any]:
        """Fields of the event's kind as plain values.

        Addresses are text, payload is base64, arguments are text with what is not UTF-8 as \\xNN, enumerations are
        lower-case words; fields that are not set have their zero value.
        """
        return plain(getattr(self.message, self.kind)) if self.kind else {}

    @classmethod
    def of(cls, stored: event_pb2.StoredEvent) -> Event:
        """From the wire."""
        event = stored.event
        return cls(
            kind=event.WhichOneof("kind") or "",
            time_ns=nanoseconds(stored.time),
            host=stored.host,
            boot_id=stored.boot_id,
            agent_id=event.agent_id,
            pid=event.process.pid,
            start_time=event.process.start_time_ns,
            boot_time_ns=event.time_ns,
            record=(event.record.epoch, event.record.cpu, event.record.sequence),
            cursor=stored.cursor,
            message=event,
        )


def address(raw: bytes) -> str:
    """An IPv4 or IPv6 address in text; empty when it is not known."""
    return str(ipaddress.ip_address(raw)) if len(raw) in (4, 16) else ""


def endpoint(raw: bytes, port: int) -> str:
    """address:port, or [address]:port for IPv6; empty when it is not known."""
    text = address(raw)
    if not text:
        return f"*:{port}" if port else ""
    return f"[{text}]:{port}" if len(raw) == 16 else f"{text}:{port}"


def plain(message: Message) -> dict[str, Any]:
    """A message as plain values, under the names of its fields."""
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            out[field.name] = dict(value)
        elif field.is_repeated:
            out[field.name] = [_value(field, each) for each in value]
        elif field.message_type and not message.HasField(field.name):
            out[field.name] = None
        else:
            out[field.name] = _value(field, value)
    return out


def _value(field: Any, value: Any) -> Any:
    if field.message_type:
        return plain(value)
    if field.enum_type:
        return named(field.enum_type, value) or value
    if isinstance(value, bytes):
        if field.name in _ADDRESSES:
            return address(value)
        if field.name in _REPEATED_TEXT:
            return value.decode("utf-8", "backslashreplace")
        return base64.b64encode(value).decode()
    return value
