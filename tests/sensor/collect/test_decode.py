"""Every kind is decoded to the field; whatever else the bytes are, it is an UndecodableRecord and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubicon.v1 import event_pb2, flow_pb2, process_pb2
from sensor.collect.decode import DECODERS, decode
from sensor.errors import UndecodableRecord
from sensor.kernel import abi
from tests.sensor.collect import records

OUTBOUND, REFUSED = 1 << 5, 1 << 4


def test_the_header_is_the_identity() -> None:
    event = decode(records.fork())
    assert (event.record.epoch, event.record.cpu, event.record.sequence) == (99, 1, 7)
    assert (event.time_ns, event.agent_id) == (5_000_000_000, records.AGENT_ID)
    assert (event.process.pid, event.process.start_time_ns) == (4321, 4_000_000_000)


def test_fork() -> None:
    fork = decode(records.fork()).fork
    assert fork == event_pb2.Fork(
        child=process_pb2.ProcessKey(pid=5000, start_time_ns=5_000_000_000),
        parent=process_pb2.ProcessKey(pid=4321, start_time_ns=4_000_000_000),
        namespace_pid=5,
        cgroup_id=77,
    )


def test_exec() -> None:
    program = decode(records.execute(interpreter=b"/bin/sh", flags=1 << 2 | 1 << 3)).exec
    assert list(program.argv) == [b"ls", b"-l"]
    assert (program.exe, program.filename, program.interpreter, program.cwd) == ("/bin/ls", "ls", "/bin/sh", "/tmp")
    assert (program.inode, program.device, program.cgroup_id, program.comm) == (1001, 1002, 77, "ls")
    assert (program.memfd, program.deleted, program.argv_truncated, program.path_truncated) == (
        True,
        True,
        False,
        False,
    )
    assert program.argv_length == 6
    assert program.credentials == process_pb2.Credentials(uid=1, euid=2, gid=3, egid=4, capabilities=0x1FF)
    assert program.namespaces == process_pb2.Namespaces(pid=101, net=102, mnt=103, user=104)
    assert program.parent == process_pb2.ProcessKey(pid=4000, start_time_ns=3_000_000_000)
    assert [d.kind for d in program.stdio] == [
        process_pb2.DESCRIPTOR_KIND_TTY,
        process_pb2.DESCRIPTOR_KIND_PIPE,
        process_pb2.DESCRIPTOR_KIND_SOCKET,
    ]
    assert (program.stdio[2].inode, program.stdio[2].cookie, program.stdio[2].family) == (13, 1313, 2)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (b"", []),
        (b"\0", [b""]),
        (b"a\0\0b\0", [b"a", b"", b"b"]),
        (b"a\0cut", [b"a", b"cut"]),
        (b"\xff\xfe\x1b[2J\0", [b"\xff\xfe\x1b[2J"]),
    ],
)
def test_arguments_are_kept_as_they_are(argv: bytes, expected: list[bytes]) -> None:
    assert list(decode(records.execute(argv=argv)).exec.argv) == expected


def test_cut_arguments_say_so_and_keep_the_whole_length() -> None:
    program = decode(records.execute(argv=b"x" * 100, argv_length=2_000_000, flags=1)).exec
    assert (program.argv_truncated, program.argv_length, len(program.argv[0])) == (True, 2_000_000, 100)


def test_what_follows_in_a_record_of_a_fixed_size_is_no_part_of_it() -> None:
    record = records.execute()
    assert decode(record + b"\xaa" * (512 - len(record))) == decode(record)


def test_a_path_that_is_no_utf8_stays_readable_and_valid() -> None:
    program = decode(records.execute(exe=b"/tmp/\xff\xc3\xa4", cwd=b"/\x80")).exec
    assert (program.exe, program.cwd) == ("/tmp/\\xffä", "/\\x80")
    assert event_pb2.Exec.FromString(program.SerializeToString()) == program


def test_exit() -> None:
    assert decode(records.exited(3 << 8)).exit == event_pb2.Exit(status=3)
    assert decode(records.exited(0)).WhichOneof("kind") == "exit"
    assert decode(records.exited(0x8B)).exit == event_pb2.Exit(signal=11, core_dumped=True)


def test_join() -> None:
    join = decode(records.join(reason=3)).join
    assert join.target == process_pb2.ProcessKey(pid=888, start_time_ns=6_000_000_000)
    assert (join.cgroup_id, join.reason, join.cgroup_agent_id) == (77, event_pb2.JOIN_REASON_STRANGER, "000000000001")


def test_connect_has_a_destination_and_no_source_yet() -> None:
    connect = decode(records.connect(REFUSED)).connect
    assert connect.refused
    assert connect.flow == flow_pb2.Flow(
        cookie=555, netns_cookie=666, family=2, type=1, protocol=6, destination=bytes((203, 0, 113, 9)),
        destination_port=22, direction=flow_pb2.FLOW_DIRECTION_OUTBOUND,
    )  # fmt: skip


def test_ipv6_keeps_sixteen_bytes_and_a_wildcard_bind_is_told() -> None:
    address = bytes(range(16))
    event = decode(records.header(13) + records.flow(destination=address, family=10))
    assert event.connect.flow.destination == address
    bind = decode(records.header(11) + records.flow(destination=b"", destination_port=0, source_port=8080)).bind
    assert (bind.flow.source, bind.flow.source_port, bind.flow.destination) == (bytes(4), 8080, b"")
    listen = decode(records.header(12) + records.flow(destination=b"", destination_port=0)).listen
    assert (listen.flow.source, listen.flow.destination) == (bytes(4), b"")


@pytest.mark.parametrize(
    ("flags", "direction"), [(OUTBOUND, flow_pb2.FLOW_DIRECTION_OUTBOUND), (0, flow_pb2.FLOW_DIRECTION_INBOUND)]
)
def test_establish_and_close_know_who_opened(flags: int, direction: int) -> None:
    assert decode(records.header(15, flags) + records.flow()).establish.flow.direction == direction
    close = decode(records.header(16, flags) + records.flow() + abi.CLOSE.pack(10, 20, 30, 3, 104)).close
    assert close.flow.direction == direction
    assert (close.bytes_sent, close.bytes_received, close.duration_ns, close.error) == (10, 20, 30, 104)
    assert close.reason == event_pb2.CLOSE_REASON_RESET


def test_socket_send_payload_packet() -> None:
    assert decode(records.header(10) + records.flow()).socket.flow.cookie == 555
    assert decode(records.header(14) + records.flow()).send.flow.destination_port == 22
    payload = decode(records.payload()).payload
    assert (payload.data, payload.length, payload.outbound) == (b"SSH-2.0-x\r\n", 2000, True)
    packet = decode(records.header(18) + records.flow() + abi.PACKET.pack(100, 36, 4)).packet
    assert (packet.offset, packet.length, packet.index, packet.outbound) == (100, 36, 4, False)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/run/x.sock", "/run/x.sock"),
        (b"/run/x.sock\0rest", "/run/x.sock"),
        (b"\0abstract\0more", "@abstract\0more"),
        (b"", ""),
        (b"/\xff", "/\\xff"),
    ],
)
def test_unix_names(raw: bytes, path: str) -> None:
    assert decode(records.unix_connect(raw)).unix_connect.path == path
    assert decode(records.unix_send(raw)).unix_send.path == path


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (records.tamper(9), "sent SIGKILL to the sensor (process 4321)"),
        (records.tamper(19, 1), "sent SIGSTOP to the plane (process 4321)"),
        (records.tamper(19, 2, 1), "had the kernel send SIGSTOP to the supervisor (process 4321)"),
        (records.tamper(77), "sent signal 77 to the sensor (process 4321)"),
    ],
)
def test_tamper_says_what_was_sent_to_whom(record: bytes, words: str) -> None:
    told = decode(record).tamper
    assert (told.action, told.detail) == ("signal", words)


def test_unix_connect_says_who_listens() -> None:
    event = decode(records.unix_connect(b"/run/x.sock", 3, 0xA, b"tmux: server\0\xff")).unix_connect
    assert event.peer_state == event_pb2.PEER_STATE_FOUND
    assert (event.peer.pid, event.peer.start_time_ns) == (77, 7_000)
    assert (event.peer_agent_id, event.peer_comm) == ("00000000000a", "tmux: server")
    assert not decode(records.unix_connect(b"/run/x.sock", 3)).unix_connect.peer_agent_id
    nobody = decode(records.unix_connect(b"/run/x.sock", 2)).unix_connect
    assert nobody.peer_state == event_pb2.PEER_STATE_NOBODY
    assert not nobody.HasField("peer")


def test_a_number_that_no_field_can_hold_is_refused() -> None:
    with pytest.raises(UndecodableRecord, match="record of kind 19: ") as refused:
        decode(records.unix_connect(b"/run/x.sock", 1 << 31))
    assert refused.value.agent == records.AGENT


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_every_truncation_of_every_kind_is_refused_and_belongs_to_someone(kind: int) -> None:
    whole = {1: records.fork(), 2: records.execute(), 3: records.exited(0), 4: records.join(), 17: records.payload(),
             16: records.header(16) + records.flow() + abi.CLOSE.pack(1, 2, 3, 1, 0),
             18: records.header(18) + records.flow() + abi.PACKET.pack(1, 2, 3),
             19: records.unix_connect(b"/x"),
             20: records.unix_send(b"/x"),
             21: records.tamper(9)}.get(kind, records.header(kind) + records.flow())  # fmt: skip
    decode(whole)
    for length in range(len(whole)):
        with pytest.raises(UndecodableRecord) as caught:
            decode(whole[:length])
        if length >= abi.HEADER.size:
            assert (caught.value.agent, caught.value.event_class) == (records.AGENT, DECODERS[kind][1])


@pytest.mark.parametrize(
    "record",
    [
        records.header(0),
        records.header(999) + bytes(500),
        records.header(1, agent=1 << 48) + bytes(100),
        records.execute(argv_kept=1_000_000),
        records.payload(kept=257 + 256),
        records.tamper(9, guarded=3),
    ],
)
def test_what_cannot_be_is_refused(record: bytes) -> None:
    with pytest.raises(UndecodableRecord):
        decode(record)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=700), st.integers(0, 0xFFFF))
def test_no_bytes_crash_the_decoder(kind: int, body: bytes, flags: int) -> None:
    record = kind.to_bytes(2, "little") + flags.to_bytes(2, "little") + body
    try:
        event = decode(record)
    except UndecodableRecord:
        return
    assert event_pb2.Event.FromString(event.SerializeToString()) == event


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8), st.sampled_from((2, 4, 17, 19)))
def test_no_flipped_bytes_crash_the_decoder(flips: list[tuple[int, int]], kind: int) -> None:
    whole = {2: records.execute(), 4: records.join(), 17: records.payload(), 19: records.unix_connect(b"/run/x")}[kind]
    record = bytearray(whole)
    for position, value in flips:
        record[position % len(record)] = value
    try:
        event = decode(bytes(record))
    except UndecodableRecord:
        return
    event.SerializeToString()
