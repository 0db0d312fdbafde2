"""Kinds, flags and limits. Generated from the BTF of bpf/events.h by generate_abi.py: do not edit."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Limit(IntEnum):
    """enum limit."""

    ARGV = 16384
    PATH = 1024
    PAYLOAD = 256
    PAYLOAD_RECORDS = 4
    PACKETS = 64
    UNIX_PATH = 108
    DESTINATIONS = 4
    HEAD = 4
    COMM = 16
    STDIO = 3
    ALLOW_PORTS = 14
    GUARDED = 3


class EventKind(IntEnum):
    """enum event_kind."""

    FORK = 1
    EXEC = 2
    EXIT = 3
    JOIN = 4
    SOCKET = 10
    BIND = 11
    LISTEN = 12
    CONNECT = 13
    SEND = 14
    ESTABLISH = 15
    CLOSE = 16
    PAYLOAD = 17
    PACKET = 18
    UNIX_CONNECT = 19
    UNIX_SEND = 20
    TAMPER = 21


class EventClass(IntEnum):
    """enum event_class."""

    PROCESS = 1
    FLOW = 2
    PAYLOAD = 3
    BULK = 4
    COUNT = 5


class LossReason(IntEnum):
    """enum loss_reason."""

    RING_FULL = 1
    BUDGET = 2
    COUNT = 3


class EventFlag(IntFlag):
    """enum event_flag."""

    ARGV_TRUNCATED = 1
    PATH_TRUNCATED = 2
    MEMFD = 4
    DELETED = 8
    REFUSED = 16
    OUTBOUND = 32
    BY_OWNER = 64
    SSH = 128
    CORE_DUMPED = 256


class TagFlag(IntFlag):
    """enum tag_flag."""

    ROOT = 1
    LEFT = 2
    JOINED = 4
    PART = 2146435072


class AgentFlag(IntFlag):
    """enum agent_flag."""

    CONDEMNED = 1
    ISOLATED = 2
    STRANGER = 4
    OWN_CGROUP = 8
    LEAVERS = 16
    TAG_PRESSURE = 32
    LOOPBACK = 64
    ALLOWS = 128
    NO_UNIX = 256
    ALL_STRANGERS = 512
    PART = 2146435072


class JoinReason(IntEnum):
    """enum join_reason."""

    ENROLLED = 1
    LEFT = 2
    STRANGER = 3
    CONTESTED = 4


class DescriptorKind(IntEnum):
    """enum descriptor_kind."""

    CLOSED = 1
    FILE = 2
    PIPE = 3
    TTY = 4
    SOCKET = 5
    DEVICE = 6
    OTHER = 7


class CloseReason(IntEnum):
    """enum close_reason."""

    CLOSED = 1
    REFUSED = 2
    RESET = 3


class PeerState(IntEnum):
    """enum peer_state."""

    UNKNOWN = 1
    NOBODY = 2
    FOUND = 3


class OwnerFlag(IntFlag):
    """enum owner_flag."""

    IN_SYNCED = 65536
    OUT_SYNCED = 131072
    CUT = 262144
    REST = 524288
    PART = 2146435072


class Guarded(IntEnum):
    """enum guarded."""

    SENSOR = 0
    PLANE = 1
    SUPERVISOR = 2


class ControlOperation(IntEnum):
    """enum control_operation."""

    TAG_ADD = 1
    TAG_DELETE = 2
    AGENT_PUT = 3
    AGENT_FLAGS = 4
    AGENT_DELETE = 5
    CGROUP_ADD = 6
    CGROUP_DELETE = 7
    ISOLATING_OFF = 8
    TAG_FLAGS = 9
