"""One word per fact on both sides of the wire: enums of the ABI, reasons of errors, kinds of records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import errors as plane_errors
from controlplane.model import Changes
from controlplane.pipeline import _KINDS
from controlplane.tree import HostTree, Limits
from rubicon.v1 import error_pb2, event_pb2, process_pb2
from sensor import errors as sensor_errors
from sensor.collect.decode import DECODERS
from tests.controlplane.builders import HOST

EVENTS_H = Path(__file__).parents[2] / "bpf" / "events.h"


def abi(enum: str, prefix: str) -> dict[str, int]:
    """Names without prefix → numbers, of one enum in events.h."""
    body = re.search(rf"enum {enum} {{(.*?)}};", EVENTS_H.read_text(), re.S)
    assert body is not None
    found = re.findall(rf"\b{prefix}_(\w+) = (\d+)", body[1])
    return {name: int(number) for name, number in found if name != "COUNT"}


@pytest.mark.parametrize(
    ("enum", "prefix", "message"),
    [
        ("join_reason", "JOIN", event_pb2.JoinReason),
        ("close_reason", "CLOSE", event_pb2.CloseReason),
        ("peer_state", "PEER", event_pb2.PeerState),
        ("event_class", "CLASS", event_pb2.EventClass),
        ("loss_reason", "LOSS", event_pb2.LossReason),
        ("descriptor_kind", "DESCRIPTOR", process_pb2.DescriptorKind),
    ],
)
def test_enums_have_the_same_names_and_numbers_in_kernel_and_wire(enum: str, prefix: str, message: object) -> None:
    numbers = abi(enum, prefix)
    assert numbers
    wire = {name.split("_", 2)[2]: number for name, number in message.items()}  # type: ignore[attr-defined]
    for name, number in numbers.items():
        assert wire[name] == number, f"{prefix}_{name}"


def test_every_kind_of_record_is_decoded_has_a_place_in_the_wire_and_in_the_tree() -> None:
    kinds = abi("event_kind", "EVENT")
    assert set(kinds.values()) == set(DECODERS)
    fields = set(_KINDS.values())
    assert {name.lower() for name in kinds} <= fields
    tree = HostTree(HOST.boot, Limits()).agent("00000000a001", 1, 0, Changes())
    assert tree is not None
    assert {name.lower() for name in kinds} - set(tree.handlers) == {"tamper"}
    assert fields - set(tree.handlers) == {"ssh_config", "tamper", "tag_pressure", "probe"}, (
        "these say nothing about processes or flows"
    )


def branches(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from branches(below)


def test_every_reason_that_a_sensor_gives_is_one_that_the_plane_knows() -> None:
    for kind in branches(sensor_errors.SensorError):
        assert f"ERROR_REASON_{kind.reason}" in error_pb2.ErrorReason.keys(), kind  # type: ignore[attr-defined]  # noqa: SIM118
        told = plane_errors.from_sensor(kind.reason, "why")  # type: ignore[attr-defined]
        assert told.reason == kind.reason, kind  # type: ignore[attr-defined]
        assert told.hint
