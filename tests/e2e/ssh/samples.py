"""Samples: what a real run showed, one event a line, with this machine's paths taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from rubicon.v1 import event_pb2
from tests.e2e.ssh.world import PYTHON, World

REPOSITORY = Path(__file__).parents[3]
_KINDS = frozenset(
    [
        "fork",
        "exec",
        "exit",
        "connect",
        "establish",
        "close",
        "payload",
        "packet",
        "unix_connect",
        "enrol",
        "finish",
        "ssh_config",
        "process_snapshot",
    ]
)


def lines(events: Iterable[event_pb2.Event], world: World) -> Iterable[str]:
    """The events that detectors and the tree read, as protobuf JSON."""
    for event in events:
        if event.WhichOneof("kind") in _KINDS:
            yield MessageToJson(cleaned(event, world), indent=None, preserving_proto_field_name=True)


def cleaned(event: event_pb2.Event, world: World) -> event_pb2.Event:
    """A copy without paths of this machine. Lengths of arguments are those of the real run."""
    places = [(str(world.dir), "/tmp/world"), (PYTHON, "/usr/bin/python3"), (str(REPOSITORY), "/opt/rubicon")]

    def text(value: str) -> str:
        for place, name in places:
            value = value.replace(place, name)
        return re.sub(r"/\S*/bin/python3?[.\d]*", "/usr/bin/python3", value)

    copy = event_pb2.Event()
    copy.CopyFrom(event)
    images = [copy.exec] if copy.HasField("exec") else []
    images += [copy.process_snapshot.exec] if copy.HasField("process_snapshot") else []
    for image in images:
        image.argv[:] = [
            text(word.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape") for word in image.argv
        ]
        image.exe, image.filename, image.cwd = text(image.exe), text(image.filename), text(image.cwd)
        image.interpreter = text(image.interpreter)
    if copy.HasField("enrol"):
        copy.enrol.command[:] = [text(word) for word in copy.enrol.command]
        copy.enrol.cgroup_path = "/rubicon/" + copy.agent_id
        copy.enrol.name = re.sub(r"-\d+$", "", copy.enrol.name)
    if copy.HasField("ssh_config"):
        config = copy.ssh_config
        config.files[:] = [text(name) for name in config.files]
        config.control_path, config.error = text(config.control_path), text(config.error)
    if copy.HasField("unix_connect"):
        copy.unix_connect.path = text(copy.unix_connect.path)
    return copy
