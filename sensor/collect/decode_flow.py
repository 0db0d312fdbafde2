"""Records about sockets and flows. Each function fills an event from the bytes after the header.

A side of a flow that is not known yet stays empty: an all-zero address with port 0 says nothing, except that bind and
listen really mean the wildcard address.
"""

from __future__ import annotations

from rubicon.v1 import event_pb2, flow_pb2, ids
from sensor.errors import UndecodableRecord
from sensor.kernel.abi import CLOSE, FLOW, HEADER, PACKET, PAYLOAD, UNIX_CONNECT, UNIX_SEND
from sensor.kernel.enums import EventFlag, PeerState

_START = HEADER.size
_AFTER_FLOW = _START + FLOW.size
_REFUSED, _OUTBOUND = int(EventFlag.REFUSED), int(EventFlag.OUTBOUND)  # plain: enum flags are slow
_FOUND = int(PeerState.FOUND)
_AF_INET, _AF_INET6 = 2, 10
_ZERO = bytes(16)
_DIRECTIONS = (flow_pb2.FLOW_DIRECTION_INBOUND, flow_pb2.FLOW_DIRECTION_OUTBOUND)


def _fill(record: bytes, flow: flow_pb2.Flow, local: bool = False) -> None:
    """The flow; `local` keeps the local side also when it is all zero."""
    cookie, netns_cookie, source, destination, source_port, destination_port, family, kind, protocol = FLOW.unpack_from(
        record, _START
    )
    flow.cookie = cookie
    flow.family = family
    flow.type = kind
    flow.protocol = protocol
    flow.netns_cookie = netns_cookie
    size = 4 if family == _AF_INET else 16 if family == _AF_INET6 else 0
    if not size:
        return
    if local or source_port or source != _ZERO:
        flow.source = source[:size]
        flow.source_port = source_port
    if destination_port or destination != _ZERO:
        flow.destination = destination[:size]
        flow.destination_port = destination_port


def decode_socket(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A socket was created: no address yet."""
    _fill(record, event.socket.flow)
    event.socket.refused = bool(flags & _REFUSED)


def decode_bind(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A socket was bound."""
    _fill(record, event.bind.flow, local=True)
    event.bind.refused = bool(flags & _REFUSED)


def decode_listen(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A socket began to listen."""
    _fill(record, event.listen.flow, local=True)


def decode_connect(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """connect(): the agent opens the flow."""
    connect = event.connect
    flow = connect.flow
    _fill(record, flow)
    flow.direction = flow_pb2.FLOW_DIRECTION_OUTBOUND
    connect.refused = bool(flags & _REFUSED)


def decode_send(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A datagram to a destination."""
    send = event.send
    flow = send.flow
    _fill(record, flow)
    flow.direction = flow_pb2.FLOW_DIRECTION_OUTBOUND
    send.refused = bool(flags & _REFUSED)


def decode_establish(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A TCP connection stands; the flag says who opened it."""
    flow = event.establish.flow
    _fill(record, flow)
    flow.direction = _DIRECTIONS[flags & _OUTBOUND != 0]


def decode_close(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A TCP connection ended, with what it carried."""
    close = event.close
    flow = close.flow
    _fill(record, flow)
    flow.direction = _DIRECTIONS[flags & _OUTBOUND != 0]
    sent, received, duration, reason, error = CLOSE.unpack_from(record, _AFTER_FLOW)
    close.reason = reason & 0x7FFFFFFF
    close.bytes_sent = sent
    close.bytes_received = received
    close.duration_ns = duration
    close.error = error


def decode_payload(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """First bytes one way.

    Raises:
        UndecodableRecord: the record has fewer bytes than it claims.
    """
    payload = event.payload
    offset, length, kept = PAYLOAD.unpack_from(record, _AFTER_FLOW)
    start = _AFTER_FLOW + PAYLOAD.size
    if start + kept > len(record):
        raise UndecodableRecord(f"payload record has {len(record)} bytes and claims {start + kept}")
    _fill(record, payload.flow)
    payload.outbound = bool(flags & _OUTBOUND)
    payload.data = record[start : start + kept]
    payload.length = length
    payload.offset = offset


def decode_packet(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """One packet that carried payload."""
    packet = event.packet
    _fill(record, packet.flow)
    offset, length, index = PACKET.unpack_from(record, _AFTER_FLOW)
    packet.outbound = bool(flags & _OUTBOUND)
    packet.length = length
    packet.offset = offset
    packet.index = index


def decode_unix_connect(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """connect() to a Unix socket; an abstract name (first byte NUL) is written with '@'.

    Raises:
        UndecodableRecord: the record has fewer bytes than it claims.
    """
    cookie, agent, start_time, pid, peer_state, length, comm = UNIX_CONNECT.unpack_from(record, _START)
    connect = event.unix_connect
    connect.path = _unix_name(record, _START + UNIX_CONNECT.size, length)
    connect.cookie = cookie
    connect.refused = bool(flags & _REFUSED)
    connect.peer_state = peer_state
    if peer_state == _FOUND:
        connect.peer.pid = pid
        connect.peer.start_time_ns = start_time
        connect.peer_comm = str(comm.partition(b"\0")[0], "utf-8", "backslashreplace")
        if agent:
            connect.peer_agent_id = ids.agent_id(agent)


def decode_unix_send(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A datagram to a Unix socket by its name, written as in `decode_unix_connect`.

    Raises:
        UndecodableRecord: the record has fewer bytes than it claims.
    """
    cookie, length = UNIX_SEND.unpack_from(record, _START)
    send = event.unix_send
    send.path = _unix_name(record, _START + UNIX_SEND.size, length)
    send.cookie = cookie
    send.refused = bool(flags & _REFUSED)


def _unix_name(record: bytes, start: int, length: int) -> str:
    if start + length > len(record):
        raise UndecodableRecord(f"record of a Unix socket has {len(record)} bytes and claims {start + length}")
    path = record[start : start + length]
    # A path ends at its NUL; an abstract name may hold any byte, NUL included.
    path = b"@" + path[1:] if path[:1] == b"\0" else path.partition(b"\0")[0]
    return str(path, "utf-8", "backslashreplace")
