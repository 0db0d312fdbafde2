"""What a broken or hostile sensor may put into a well-formed message: stored or refused, and the plane lives on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from controlplane.ingest import check
from rubicon.v1 import agent_service_pb2, alert_service_pb2, event_pb2, event_service_pb2
from tests.controlplane.builders import AGENT, Kernel, key, tunnel
from tests.controlplane.stage import Stage, reason

ROOT = key(100)
KINDS = [field.name for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
BIG = {
    FieldDescriptor.TYPE_UINT64: 2**64 - 1,
    FieldDescriptor.TYPE_FIXED64: 2**64 - 1,
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_FIXED32: 2**32 - 1,
    FieldDescriptor.TYPE_INT32: -(2**31),
    FieldDescriptor.TYPE_SINT32: -(2**31),
    FieldDescriptor.TYPE_INT64: -(2**63),
    FieldDescriptor.TYPE_SINT64: -(2**63),
    FieldDescriptor.TYPE_SFIXED64: -(2**63),
    FieldDescriptor.TYPE_ENUM: 2**31 - 1,
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_STRING: "\x00\x1b[2J\u202e" * 50,
    FieldDescriptor.TYPE_BYTES: b"\xff\x00" * 50,
}


def allowed(message: Message) -> Message:
    """Every field at the end of what is taken."""
    return filled(message, limits=check._LIMITS)


def filled(message: Message, depth: int = 0, limits: Mapping[str, int] = MappingProxyType({})) -> Message:
    """Every field at the end of its range."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["\x00"] = "\x00"
        elif field.message_type:
            if depth < 3:
                inner = getattr(message, field.name)
                filled(inner.add() if field.is_repeated else inner, depth + 1, limits)
        elif field.is_repeated:
            getattr(message, field.name).append(BIG[field.type])
        else:
            setattr(message, field.name, limits.get(f"{message.DESCRIPTOR.name}.{field.name}", BIG[field.type]))
    return message


async def alive(stage: Stage) -> None:
    """The plane takes events and answers."""
    kernel = Kernel("bbbb00000009", epoch=99)
    link = stage.links[-1]
    if link.call.done():
        link = await stage.connect(first_sequence=1000)
    await link.deliver([kernel.enrol(key(900), name="honest"), *tunnel(kernel, key(900))])
    api = stage.api()
    agent = (await api.GetAgent(agent_service_pb2.GetAgentRequest(agent="honest"))).agent
    assert agent.alerts == 2
    await api.GetAgentTree(agent_service_pb2.GetAgentTreeRequest(agent="honest", all=True))
    await api.ListAlerts(alert_service_pb2.ListAlertsRequest())
    await api.ListAgents(agent_service_pb2.ListAgentsRequest(all=True))
    async for _ in api.StreamEvents(event_service_pb2.StreamEventsRequest()):
        pass


async def sent(stage: Stage, events: list[event_pb2.Event]) -> str:
    """Deliver; the reason of a refusal, empty when they were taken."""
    link = await stage.connect()
    try:
        await link.deliver(events)
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [filled, allowed, lambda message: message])
async def test_any_kind_with_every_field_at_the_end_of_its_range_or_empty(
    stage: Stage, kind: str, make: Callable[[Message], Message]
) -> None:
    kernel = Kernel()
    extreme = event_pb2.Event()
    make(getattr(extreme, kind))
    getattr(extreme, kind).SetInParent()
    event = kernel.event(ROOT, **{kind: getattr(extreme, kind)})
    assert await sent(stage, [kernel.enrol(ROOT), event, kernel.exec(ROOT, "next")]) in ("", "INVALID_ARGUMENT")
    await alive(stage)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: setattr(event, "time_ns", 2**64 - 1),
        lambda event: setattr(event.process, "start_time_ns", 2**64 - 1),
        lambda event: setattr(event.process, "pid", 2**32 - 1),
        lambda event: setattr(event.record, "sequence", 2**64 - 1),
        lambda event: setattr(event.record, "epoch", 2**64 - 1),
        lambda event: setattr(event.record, "cpu", 2**32 - 2),
        lambda event: event.ClearField("record"),
        lambda event: event.ClearField("process"),
        lambda event: event.ClearField("exec"),
        lambda event: setattr(event, "agent_id", "x"),
        lambda event: setattr(event, "agent_id", "f" * 12),
        lambda event: setattr(event, "agent_id", "'; drop table agents; --"),
        lambda event: setattr(event, "agent_id", "x" * 100_000),
    ],
)
async def test_an_envelope_that_cannot_be(stage: Stage, spoil: Callable[[event_pb2.Event], None]) -> None:
    kernel = Kernel()
    event = kernel.exec(ROOT, "spoiled")
    spoil(event)
    assert await sent(stage, [kernel.enrol(ROOT), event, kernel.exec(ROOT, "next")]) in ("", "INVALID_ARGUMENT")
    await alive(stage)


async def test_an_agent_of_nobody_and_an_enrolment_twice(stage: Stage) -> None:
    kernel = Kernel()
    assert (
        await sent(stage, [kernel.exec(ROOT, "orphan"), kernel.enrol(ROOT), kernel.enrol(key(101), name="again")]) == ""
    )
    agent = (await stage.api().GetAgent(agent_service_pb2.GetAgentRequest(agent=AGENT))).agent
    assert agent.id == AGENT
    await alive(stage)


async def test_a_clock_that_cannot_be(stage: Stage) -> None:
    for offset in (2**63 - 1, -(2**63), 2**62 + 1):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stage.connect(clock_offset_ns=offset)
        assert reason(caught.value) == "INVALID_ARGUMENT"
    link = await stage.connect(clock_offset_ns=2**62)
    await link.deliver([Kernel().event(ROOT, time_ns=2**62 - 1, exit=event_pb2.Exit())])
    await alive(stage)
