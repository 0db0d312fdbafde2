"""Record layouts. Generated from the BTF of bpf/events.h by generate_abi.py: do not edit.

Formats are little-endian. That of a record leaves out what records begin with: HEADER first, then FLOW where the record has
one, then the format that is named after the record.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

DIGEST: Final = "7b16f40b3e597f58"
"""Of every layout, name and number here and in enums.py."""

HEADER: Final = Struct("<2HI5Q2I")
"""struct event_header: kind, flags, cpu, epoch, sequence, time_ns, agent, start_time, pid, tid"""

FLOW: Final = Struct("<2Q16s16s5H6x")
"""struct flow after what it begins with: cookie, netns_cookie, source, destination, source_port,
destination_port, family, type, protocol"""

FORK: Final = Struct("<3Q3I4x")
"""struct fork_event after what it begins with: child_start_time, parent_start_time, cgroup_id, child_pid,
parent_pid, namespace_pid"""

EXEC: Final = Struct("<5Q11I4H4x2Q2I2Q2I2Q2I16s")
"""struct exec_event after what it begins with: inode, device, cgroup_id, capabilities, parent_start_time,
parent_pid, uid, euid, gid, egid, pid_namespace, net_namespace, mnt_namespace, user_namespace, argv_length,
argv_kept, exe_length, filename_length, interpreter_length, cwd_length, inode0, cookie0, kind0, family0,
inode1, cookie1, kind1, family1, inode2, cookie2, kind2, family2, comm"""

EXIT: Final = Struct("<I4x")
"""struct exit_event after what it begins with: code"""

JOIN: Final = Struct("<3Q2I")
"""struct join_event after what it begins with: target_start_time, cgroup_id, cgroup_agent, target_pid, reason"""

CLOSE: Final = Struct("<3Q2I")
"""struct close_event after what it begins with: bytes_sent, bytes_received, duration_ns, reason, error"""

PAYLOAD: Final = Struct("<Q2I")
"""struct payload_event after what it begins with: offset, length, kept"""

PACKET: Final = Struct("<Q2I")
"""struct packet_event after what it begins with: offset, length, index"""

UNIX_CONNECT: Final = Struct("<3Q3I4x16s")
"""struct unix_connect_event after what it begins with: cookie, peer_agent, peer_start_time, peer_pid, peer,
length, peer_comm"""

UNIX_SEND: Final = Struct("<QI4x")
"""struct unix_send_event after what it begins with: cookie, length"""

TAMPER: Final = Struct("<Q4I")
"""struct tamper_event after what it begins with: target_start_time, target_pid, guarded, signal, by_kernel"""

TASK: Final = Struct("<4Q4I16s")
"""struct task_entry: start_time, parent_start_time, agent, cgroup_id, pid, parent_pid, state, flags, comm"""

SOCKET_ENTRY: Final = Struct("<3Q2I4HI4x")
"""struct socket_entry: agent, start_time, cookie, pid, netns, family, type, protocol, state, denied"""

TAG: Final = Struct("<2QI4x")
"""struct tag: agent, start_time, flags"""

CGROUP: Final = Struct("<Q")
"""struct cgroup_tag: agent"""

AGENT: Final = Struct("<Q4I10Q")
"""struct agent_state: cgroup_id, flags, tasks, marked_tasks, marked_tags, tokens0, refilled_ns0, tokens1,
refilled_ns1, tokens2, refilled_ns2, tokens3, refilled_ns3, tokens4, refilled_ns4"""

STRANGER: Final = Struct("<Q")
"""struct stranger: start_time"""

UNTAGGED: Final = Struct("<2Q")
"""struct untagged: agent, start_time"""

ALLOW_KEY: Final = Struct("<2IQ16s")
"""struct allow_key: prefix, family, agent, address"""

ALLOW: Final = Struct("<I14H")
"""struct allow: listed, ports0, ports1, ports2, ports3, ports4, ports5, ports6, ports7, ports8, ports9, ports10,
ports11, ports12, ports13"""

OWNER: Final = Struct("<8Q3I2H8I4s4s")
"""struct owner: agent, start_time, opened_ns, bytes_in, bytes_out, last_in_ns, last_out_ns, netns_cookie, pid,
packets_in, packets_out, payloads_in, payloads_out, flags, next_in, next_out, sends, sent0, sent1, sent2,
sent3, head_in, head_out"""

ACCOUNT: Final = Struct("<Q2I")
"""struct account: agent, event_class, reason"""

BUDGET: Final = Struct("<2Q")
"""struct budget: tokens, refilled_ns"""

CONFIG: Final = Struct("<12Q2I3Q3I4x")
"""struct hook_config: epoch, rate0, rate1, rate2, rate3, rate4, burst0, burst1, burst2, burst3, burst4,
wakeup_bytes, tag_high_water, tag_limit, guarded_start_time0, guarded_start_time1, guarded_start_time2,
guarded_pid0, guarded_pid1, guarded_pid2"""


class TaskValue(NamedTuple):
    """struct task_entry."""

    start_time: int
    parent_start_time: int
    agent: int
    cgroup_id: int
    pid: int
    parent_pid: int
    state: int
    flags: int
    comm: bytes


class SocketEntryValue(NamedTuple):
    """struct socket_entry."""

    agent: int
    start_time: int
    cookie: int
    pid: int
    netns: int
    family: int
    type: int
    protocol: int
    state: int
    denied: int


class TagValue(NamedTuple):
    """struct tag."""

    agent: int
    start_time: int
    flags: int


class CgroupValue(NamedTuple):
    """struct cgroup_tag."""

    agent: int


class AgentValue(NamedTuple):
    """struct agent_state."""

    cgroup_id: int
    flags: int
    tasks: int
    marked_tasks: int
    marked_tags: int
    tokens0: int
    refilled_ns0: int
    tokens1: int
    refilled_ns1: int
    tokens2: int
    refilled_ns2: int
    tokens3: int
    refilled_ns3: int
    tokens4: int
    refilled_ns4: int


class StrangerValue(NamedTuple):
    """struct stranger."""

    start_time: int


class UntaggedValue(NamedTuple):
    """struct untagged."""

    agent: int
    start_time: int


class AllowKeyValue(NamedTuple):
    """struct allow_key."""

    prefix: int
    family: int
    agent: int
    address: bytes


class AllowValue(NamedTuple):
    """struct allow."""

    listed: int
    ports0: int
    ports1: int
    ports2: int
    ports3: int
    ports4: int
    ports5: int
    ports6: int
    ports7: int
    ports8: int
    ports9: int
    ports10: int
    ports11: int
    ports12: int
    ports13: int


class OwnerValue(NamedTuple):
    """struct owner."""

    agent: int
    start_time: int
    opened_ns: int
    bytes_in: int
    bytes_out: int
    last_in_ns: int
    last_out_ns: int
    netns_cookie: int
    pid: int
    packets_in: int
    packets_out: int
    payloads_in: int
    payloads_out: int
    flags: int
    next_in: int
    next_out: int
    sends: int
    sent0: int
    sent1: int
    sent2: int
    sent3: int
    head_in: bytes
    head_out: bytes


class AccountValue(NamedTuple):
    """struct account."""

    agent: int
    event_class: int
    reason: int


class BudgetValue(NamedTuple):
    """struct budget."""

    tokens: int
    refilled_ns: int


class ConfigValue(NamedTuple):
    """struct hook_config."""

    epoch: int
    rate0: int
    rate1: int
    rate2: int
    rate3: int
    rate4: int
    burst0: int
    burst1: int
    burst2: int
    burst3: int
    burst4: int
    wakeup_bytes: int
    tag_high_water: int
    tag_limit: int
    guarded_start_time0: int
    guarded_start_time1: int
    guarded_start_time2: int
    guarded_pid0: int
    guarded_pid1: int
    guarded_pid2: int
