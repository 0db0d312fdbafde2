"""Shapes of the records in bpf/events.h as struct formats: little-endian, padding written out."""

from __future__ import annotations

from struct import Struct

HEADER = Struct("<HHIQQQQQII")
"""kind, flags, cpu, epoch, sequence, time_ns, agent, start_time, pid, tid"""

FORK = Struct("<QQQIII4x")
"""child_start_time, parent_start_time, cgroup_id, child_pid, parent_pid, namespace_pid"""

EXEC = Struct("<QQQQQ" + "I" * 11 + "HHHH4x" + "QQII" * 3 + "16s")
"""inode … comm, in the order of struct exec_event; followed by the paths and the arguments"""

EXIT = Struct("<I4x")
"""code"""

JOIN = Struct("<QQQII")
"""target_start_time, cgroup_id, cgroup_agent, target_pid, reason"""

FLOW = Struct("<QQ16s16sHHHHH6x")
"""cookie, netns_cookie, source, destination, source_port, destination_port, family, type, protocol"""

CLOSE = Struct("<QQQII")
"""bytes_sent, bytes_received, duration_ns, reason, error"""

PAYLOAD = Struct("<QII")
"""offset, length, kept"""

PACKET = Struct("<QII")
"""offset, length, index"""

UNIX_CONNECT = Struct("<QI4x")
"""cookie, length"""
