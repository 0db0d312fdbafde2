"""Samples: what a real run showed, one event a line, with all of this machine and this moment taken out.

Identities (processes, cookies, cgroups, inodes, records' epochs) are numbered in the order in which they appear, times
begin at one second after boot, paths are those of an imaginary machine. Lengths, sizes, ports and distances in time are
those of the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from rubicon.v1 import event_pb2
from tests.e2e.ssh.world import PYTHON

REPOSITORY = Path(__file__).parents[3]
AGENT = "a00000000001"
_NOT_READ = frozenset(("socket", "bind", "listen", "send", "join", "loss", "tamper", "probe"))
_NUMBERED = frozenset(("epoch", "pid", "cookie", "netns_cookie", "cgroup_id", "cgroup_ids", "inode", "device"))
_TIMES = frozenset(("time_ns", "start_time_ns"))
_FIRST_NS = 1_000_000_000
_PAYLOAD, _HEAD = 64, 12
"""Bytes of a payload that are kept: of one with a banner, and of any other, such as a packet of the key exchange."""


class Cleaner:
    """Cleans the events of one run."""

    def __init__(
        self,
        events: Iterable[event_pb2.Event],
        places: Iterable[tuple[str, str]],
        kept: Iterable[str] = (),
    ) -> None:
        """
        Args:
            places: texts of this machine and what stands for them.
            kept: kinds that are kept although most detectors do not read them.
        """
        left_out = _NOT_READ - frozenset(kept)
        self._events = [event for event in events if event.WhichOneof("kind") not in left_out]
        self._numbers: dict[tuple[str, int], int] = {}
        self._begin = min(event.process.start_time_ns for event in self._events if event.HasField("enrol"))
        self._places = [
            *places,
            (PYTHON, "/usr/bin/python3"),
            (str(REPOSITORY), "/opt/rubicon"),
        ]

    def lines(self) -> Iterator[str]:
        """One line an event, without how the test starts an agent."""
        for event in self._events:
            if event.HasField("exec") and event.exec.argv[:1] in ([b"nsenter"], [b"env"]):
                continue
            copy = event_pb2.Event()
            copy.CopyFrom(event)
            self._message(copy)
            copy.agent_id = AGENT
            if copy.HasField("enrol"):
                copy.enrol.name, copy.enrol.cgroup_path = re.sub(r"-\d+$", "", copy.enrol.name), f"/rubicon/{AGENT}"
                copy.enrol.enrolled_by = "uid 0"
                del copy.enrol.command[:]
            if copy.HasField("payload"):
                copy.payload.data = event.payload.data[: _PAYLOAD if event.payload.data.startswith(b"SSH-") else _HEAD]
            if copy.HasField("packet"):
                # its connect has told the rest
                for name in ("family", "type", "protocol", "source", "source_port", "destination", "netns_cookie"):
                    copy.packet.flow.ClearField(name)
            yield json.dumps(MessageToDict(copy, preserving_proto_field_name=True), separators=(",", ":"))

    def _message(self, message: Message) -> None:
        for field, value in message.ListFields():
            values = list(value) if field.is_repeated else [value]
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                for each in values:
                    self._message(each)
                continue
            cleaned = [self._value(field, each) for each in values]
            if field.is_repeated:
                del value[:]
                value.extend(cleaned)
            else:
                setattr(message, field.name, cleaned[0])

    def _value(self, field: FieldDescriptor, value: Any) -> Any:
        if field.name in _NUMBERED or field.containing_type.name == "Namespaces":
            return self._number(field.name, value)
        if field.name in _TIMES:
            return max(value - self._begin + _FIRST_NS, 1)  # older than the agent; 0 would say that it is not known
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text(value)
        if field.name == "argv":
            return self._text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return value

    def _number(self, name: str, value: int) -> int:
        known = self._numbers.setdefault((name.rstrip("s"), value), len(self._numbers) + 100)
        return known if value else 0

    def _text(self, value: str) -> str:
        for place, name in self._places:
            value = value.replace(place, name)
        return re.sub(r"/\S*/bin/python3?[.\d]*", "/usr/bin/python3", value)
