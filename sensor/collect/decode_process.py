"""Records about processes: fork, exec, exit, join, tamper. Each function fills an event from the bytes after the header.

Paths are text on the wire, and a path may hold any byte but NUL: what is not UTF-8 becomes a visible `\\xNN`. Arguments
stay bytes.
"""

from __future__ import annotations

import signal

from rubicon.v1 import event_pb2, ids
from sensor.errors import UndecodableRecord
from sensor.kernel.abi import EXEC, EXIT, FORK, HEADER, JOIN, TAMPER
from sensor.kernel.enums import DescriptorKind, EventFlag, Guarded

_START = HEADER.size
_VARIABLE = _START + EXEC.size
# As plain integers: the operators of enum flags cost more than all else here.
_ARGV_TRUNCATED = int(EventFlag.ARGV_TRUNCATED)
_PATH_TRUNCATED = int(EventFlag.PATH_TRUNCATED)
_MEMFD = int(EventFlag.MEMFD)
_DELETED = int(EventFlag.DELETED)
_CORE_DUMPED = int(EventFlag.CORE_DUMPED)
_DESCRIPTOR_CLOSED = int(DescriptorKind.CLOSED)
_DESCRIPTOR_OTHER = int(DescriptorKind.OTHER)


def decode_fork(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A child was made; the parent differs from the maker with CLONE_PARENT."""
    child_start, parent_start, cgroup_id, child_pid, parent_pid, namespace_pid = FORK.unpack_from(record, _START)
    fork = event.fork
    child, parent = fork.child, fork.parent
    child.pid = child_pid
    child.start_time_ns = child_start
    parent.pid = parent_pid
    parent.start_time_ns = parent_start
    fork.namespace_pid = namespace_pid
    fork.cgroup_id = cgroup_id


def decode_exec(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A program was executed.

    Raises:
        UndecodableRecord: the lengths do not fit into the record.
    """
    (
        inode, device, cgroup_id, capabilities, parent_start, parent_pid, uid, euid, gid, egid,
        pid_ns, net_ns, mnt_ns, user_ns,
        argv_length, argv_kept, exe_length, filename_length, interpreter_length, cwd_length,
        inode0, cookie0, kind0, family0, inode1, cookie1, kind1, family1, inode2, cookie2, kind2, family2, comm,
    ) = EXEC.unpack_from(record, _START)  # fmt: skip
    filename_at = _VARIABLE + exe_length
    interpreter_at = filename_at + filename_length
    cwd_at = interpreter_at + interpreter_length
    argv_at = cwd_at + cwd_length
    end = argv_at + argv_kept
    if end > len(record):
        raise UndecodableRecord(f"exec record has {len(record)} bytes and claims {end}")

    program = event.exec
    arguments = record[argv_at:end]
    if arguments:
        # Each argument ends with NUL; what follows the last one is an argument that was cut.
        program.argv.extend((arguments[:-1] if arguments[-1] == 0 else arguments).split(b"\0"))
    if flags or argv_kept < argv_length:
        program.argv_truncated = bool(flags & _ARGV_TRUNCATED) or argv_kept < argv_length
        program.memfd = bool(flags & _MEMFD)
        program.deleted = bool(flags & _DELETED)
        program.path_truncated = bool(flags & _PATH_TRUNCATED)
    program.argv_length = argv_length
    program.exe = str(record[_VARIABLE:filename_at], "utf-8", "backslashreplace")
    program.filename = str(record[filename_at:interpreter_at], "utf-8", "backslashreplace")
    if interpreter_length:
        program.interpreter = str(record[interpreter_at:cwd_at], "utf-8", "backslashreplace")
    program.cwd = str(record[cwd_at:argv_at], "utf-8", "backslashreplace")
    program.comm = str(comm.partition(b"\0")[0], "utf-8", "backslashreplace")
    program.inode = inode
    program.device = device
    program.cgroup_id = cgroup_id
    credentials, namespaces, parent = program.credentials, program.namespaces, program.parent
    credentials.uid = uid
    credentials.euid = euid
    credentials.gid = gid
    credentials.egid = egid
    credentials.capabilities = capabilities
    namespaces.pid = pid_ns
    namespaces.net = net_ns
    namespaces.mnt = mnt_ns
    namespaces.user = user_ns
    parent.pid = parent_pid
    parent.start_time_ns = parent_start
    for number, cookie, kind, family in (
        (inode0, cookie0, kind0, family0),
        (inode1, cookie1, kind1, family1),
        (inode2, cookie2, kind2, family2),
    ):
        descriptor = program.stdio.add()
        descriptor.kind = kind if kind <= _DESCRIPTOR_OTHER else _DESCRIPTOR_OTHER  # type: ignore[assignment]
        if kind > _DESCRIPTOR_CLOSED:
            descriptor.inode = number
            if family:
                descriptor.family = family
                descriptor.cookie = cookie


def decode_exit(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """The last thread ended; the code is laid out as in wait(2)."""
    (code,) = EXIT.unpack_from(record, _START)
    end = event.exit
    end.SetInParent()
    end.status = code >> 8 & 0xFF
    end.signal = code & 0x7F
    end.core_dumped = bool(code & 0x80 or flags & _CORE_DUMPED)


def decode_join(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A process changed its cgroup. The path is not in the record: the collector looks it up."""
    target_start, cgroup_id, cgroup_agent, target_pid, reason = JOIN.unpack_from(record, _START)
    join = event.join
    join.target.pid = target_pid
    join.target.start_time_ns = target_start
    join.cgroup_id = cgroup_id
    join.reason = reason & 0x7FFFFFFF
    join.cgroup_agent_id = ids.agent_id(cgroup_agent)


def decode_tamper(record: bytes, flags: int, event: event_pb2.Event) -> None:
    """A signal to a daemon.

    Raises:
        UndecodableRecord: it names no daemon that there is.
    """
    _, pid, guarded, number, by_kernel = TAMPER.unpack_from(record, _START)
    try:
        daemon = Guarded(guarded).name.lower()
    except ValueError:
        raise UndecodableRecord(f"tamper record names daemon {guarded}") from None
    how = "had the kernel send" if by_kernel else "sent"
    event.tamper.action = "signal"
    event.tamper.detail = f"{how} {_signal(number)} to the {daemon} (process {pid})"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
