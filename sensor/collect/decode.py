"""One ring record to one event. What each kind holds stands in decode_process.py and decode_flow.py.

A record comes from our own hooks, yet it is treated as if it did not: a short, overlong or unknown one raises and is
counted, it never ends the sensor.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from rubicon.v1 import event_pb2, ids
from sensor.collect import decode_flow, decode_process
from sensor.errors import UndecodableRecord
from sensor.kernel.abi import HEADER
from sensor.kernel.enums import EventClass, EventKind

Decoder = Callable[[bytes, int, event_pb2.Event], None]

DECODERS: dict[int, tuple[Decoder, int]] = {
    EventKind.FORK: (decode_process.decode_fork, EventClass.PROCESS),
    EventKind.EXEC: (decode_process.decode_exec, EventClass.PROCESS),
    EventKind.EXIT: (decode_process.decode_exit, EventClass.PROCESS),
    EventKind.JOIN: (decode_process.decode_join, EventClass.PROCESS),
    EventKind.TAMPER: (decode_process.decode_tamper, EventClass.PROCESS),
    EventKind.SOCKET: (decode_flow.decode_socket, EventClass.BULK),
    EventKind.BIND: (decode_flow.decode_bind, EventClass.FLOW),
    EventKind.LISTEN: (decode_flow.decode_listen, EventClass.FLOW),
    EventKind.CONNECT: (decode_flow.decode_connect, EventClass.FLOW),
    EventKind.SEND: (decode_flow.decode_send, EventClass.BULK),
    EventKind.ESTABLISH: (decode_flow.decode_establish, EventClass.FLOW),
    EventKind.CLOSE: (decode_flow.decode_close, EventClass.FLOW),
    EventKind.PAYLOAD: (decode_flow.decode_payload, EventClass.PAYLOAD),
    EventKind.PACKET: (decode_flow.decode_packet, EventClass.BULK),
    EventKind.UNIX_CONNECT: (decode_flow.decode_unix_connect, EventClass.FLOW),
    EventKind.UNIX_SEND: (decode_flow.decode_unix_send, EventClass.BULK),
}
"""Per kind: who decodes it, and the class that its loss is counted in (event_class of bpf/events.h)."""

_agent_id = lru_cache(maxsize=4096)(ids.agent_id)


def decode_into(record: bytes, event: event_pb2.Event) -> None:
    """Fill an empty event from a record; the collector calls it with an event that already stands in its batch.

    Raises:
        UndecodableRecord: the record does not have the shape of its kind, or its kind is unknown. The event is then
        half filled.
    """
    try:
        kind, flags, cpu, epoch, sequence, time_ns, agent, start_time, pid, _ = HEADER.unpack_from(record)
    except struct.error:
        raise UndecodableRecord(f"record of {len(record)} bytes is shorter than a header ({HEADER.size})") from None
    if agent >> 48:
        raise UndecodableRecord(f"record of kind {kind} names agent {agent:#x}, which no id can be")
    entry = DECODERS.get(kind)
    if entry is None:
        raise UndecodableRecord(f"record of unknown kind {kind}", agent)
    identity = event.record
    identity.epoch = epoch
    identity.cpu = cpu
    identity.sequence = sequence
    event.time_ns = time_ns
    try:
        event.agent_id = _agent_id(agent)
        process = event.process
        process.pid = pid
        process.start_time_ns = start_time
        entry[0](record, flags, event)
    except struct.error:
        raise UndecodableRecord(f"record of kind {kind} is too short ({len(record)} bytes)", agent, entry[1]) from None
    except ValueError as error:  # a number that the field cannot hold
        raise UndecodableRecord(f"record of kind {kind}: {error}", agent, entry[1]) from None
    except UndecodableRecord as error:
        raise UndecodableRecord(str(error), agent, entry[1]) from None


def decode(record: bytes) -> event_pb2.Event:
    """The event that a ring record (header included) stands for.

    Raises:
        UndecodableRecord: the record does not have the shape of its kind, or its kind is unknown.
    """
    event = event_pb2.Event()
    decode_into(record, event)
    return event
