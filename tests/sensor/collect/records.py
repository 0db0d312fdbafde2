"""Ring records as the hooks lay them out (bpf/events.h), for tests that need no kernel."""

from __future__ import annotations

from sensor.kernel import abi

AGENT = 0xABCDEF012345
AGENT_ID = "abcdef012345"


def header(
    kind: int,
    flags: int = 0,
    sequence: int = 7,
    time_ns: int = 5_000_000_000,
    agent: int = AGENT,
    pid: int = 4321,
    start_time: int = 4_000_000_000,
    cpu: int = 1,
    epoch: int = 99,
) -> bytes:
    """struct event_header"""
    return abi.HEADER.pack(kind, flags, cpu, epoch, sequence, time_ns, agent, start_time, pid, pid)


def fork(child: int = 5000, sequence: int = 7, time_ns: int = 5_000_000_000, agent: int = AGENT) -> bytes:
    """struct fork_event; the child starts at the event's time"""
    return header(1, sequence=sequence, time_ns=time_ns, agent=agent) + abi.FORK.pack(
        time_ns, 4_000_000_000, 77, child, 4321, 5
    )


def execute(
    argv: bytes = b"ls\0-l\0",
    exe: bytes = b"/bin/ls",
    filename: bytes = b"ls",
    interpreter: bytes = b"",
    cwd: bytes = b"/tmp",
    flags: int = 0,
    argv_length: int | None = None,
    argv_kept: int | None = None,
    sequence: int = 7,
    comm: bytes = b"ls",
) -> bytes:
    """struct exec_event with its paths and arguments"""
    stdio = (11, 0, 4, 0, 12, 0, 3, 0, 13, 1313, 5, 2)
    fixed = abi.EXEC.pack(
        1001, 1002, 77, 0x1FF, 3_000_000_000, 4000, 1, 2, 3, 4, 101, 102, 103, 104,
        len(argv) if argv_length is None else argv_length, len(argv) if argv_kept is None else argv_kept,
        len(exe), len(filename), len(interpreter), len(cwd), *stdio, comm,
    )  # fmt: skip
    return header(2, flags, sequence=sequence) + fixed + exe + filename + interpreter + cwd + argv


def exited(code: int, flags: int = 0) -> bytes:
    """struct exit_event"""
    return header(3, flags) + abi.EXIT.pack(code)


def join(cgroup_id: int = 77, reason: int = 1) -> bytes:
    """struct join_event"""
    return header(4) + abi.JOIN.pack(6_000_000_000, cgroup_id, 0x1, 888, reason)


def flow(
    source: bytes = b"",
    destination: bytes = bytes((203, 0, 113, 9)),
    source_port: int = 0,
    destination_port: int = 22,
    family: int = 2,
) -> bytes:
    """struct flow"""
    return abi.FLOW.pack(555, 666, source, destination, source_port, destination_port, family, 1, 6)


def connect(flags: int = 0, sequence: int = 7, agent: int = AGENT, time_ns: int = 5_000_000_000) -> bytes:
    """struct flow_event of a connect"""
    return header(13, flags, sequence=sequence, agent=agent, time_ns=time_ns) + flow()


def payload(data: bytes = b"SSH-2.0-x\r\n", kept: int | None = None) -> bytes:
    """struct payload_event, outbound"""
    return header(17, 1 << 5) + flow() + abi.PAYLOAD.pack(0, 2000, len(data) if kept is None else kept) + data


def unix_connect(path: bytes, state: int = 1, agent: int = 0, comm: bytes = b"") -> bytes:
    """struct unix_connect_event; the peer is process 77"""
    return header(19) + abi.UNIX_CONNECT.pack(555, agent, 7_000, 77, state, len(path), comm) + path


def unix_send(path: bytes) -> bytes:
    """struct unix_send_event"""
    return header(20) + abi.UNIX_SEND.pack(556, len(path)) + path


def tamper(signal: int, guarded: int = 0, by_kernel: int = 0) -> bytes:
    """struct tamper_event"""
    return header(21) + abi.TAMPER.pack(77, 4321, guarded, signal, by_kernel)
