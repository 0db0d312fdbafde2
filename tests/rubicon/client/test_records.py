"""What the wire says, as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubicon.client import Event, Process, Tree
from rubicon.client.records.event import address, endpoint, plain
from rubicon.client.records.moment import moment, nanoseconds, rfc3339, stamp
from rubicon.client.records.response import Response
from rubicon.v1 import event_pb2, flow_pb2, process_pb2


def process(pid: int, parent: int = 0, start: int = 0, boot: str = "b") -> Process:
    message = process_pb2.Process(
        id=process_pb2.ProcessId(host="h", boot_id=boot, pid=pid, start_time_ns=start or pid * 10),
        parent_pid=parent,
        parent_start_time_ns=parent * 10,
    )
    return Process.of(message)


def walked(*processes: Process) -> list[tuple[int, bool, int]]:
    return [(depth, last, each.pid) for depth, last, each in Tree(processes).walk()]


def test_a_tree_is_walked_depth_first_and_marks_the_last_child() -> None:
    found = walked(process(1), process(2, 1), process(3, 1), process(4, 2), process(9))
    assert found == [(0, False, 1), (1, False, 2), (2, True, 4), (1, True, 3), (0, True, 9)]


def test_whose_parent_is_not_listed_or_was_replaced_is_a_root() -> None:
    assert walked(process(5, 4)) == [(0, True, 5)]
    assert walked(process(4, start=999), process(5, 4)) == [(0, False, 4), (0, True, 5)]
    assert walked(process(4, boot="x"), process(5, 4)) == [(0, False, 4), (0, True, 5)]
    assert walked(process(6, 6)) == [(0, True, 6)], "its own parent"


def test_a_chain_of_many_processes_needs_no_stack() -> None:
    chain = [process(pid, pid - 1) for pid in range(1, 5001)]
    assert walked(*chain)[-1] == (4999, True, 5000)


def test_times() -> None:
    assert rfc3339(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert rfc3339(0) is None
    assert moment(0) is None
    assert stamp(None) is None
    naive, east = datetime(2024, 1, 1), datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert stamp(naive) == stamp(east) == stamp(datetime(2024, 1, 1, tzinfo=UTC))


@given(st.datetimes(datetime(1970, 1, 2), datetime(2260, 1, 1), timezones=st.just(UTC)))
def test_times_survive_the_wire(when: datetime) -> None:
    found = stamp(when)
    assert found is not None
    assert moment(nanoseconds(found)) == when


@pytest.mark.parametrize(
    ("raw", "port", "text"),
    [
        (bytes([203, 0, 113, 9]), 443, "203.0.113.9:443"),
        (bytes(15) + b"\x01", 22, "[::1]:22"),
        (b"", 0, ""),
        (b"", 53, "*:53"),
        (b"\x01\x02\x03", 1, "*:1"),
    ],
)
def test_addresses(raw: bytes, port: int, text: str) -> None:
    assert endpoint(raw, port) == text
    assert address(raw) == text.strip("[]*").rpartition(":")[0].strip("[]")


def test_details_are_plain_values() -> None:
    event = event_pb2.Event(exec=event_pb2.Exec(argv=[b"a", b"\xff\x1b"], exe="/bin/a"))
    detail = plain(event.exec)
    assert detail["argv"] == ["a", "\\xff\x1b"]
    assert detail["exe"] == "/bin/a"
    assert detail["parent"] is None
    flow = flow_pb2.Flow(source=bytes(4), destination=bytes([10, 0, 0, 1]), direction=flow_pb2.FLOW_DIRECTION_OUTBOUND)
    assert plain(flow)["destination"] == "10.0.0.1"
    assert plain(flow)["direction"] == "outbound"
    assert plain(event_pb2.Payload(data=b"\x00\xff"))["data"] == "AP8="
    assert plain(event_pb2.Enrol(labels={"a": "b"}))["labels"] == {"a": "b"}
    assert plain(event_pb2.Loss(event_class=77))["event_class"] == 77, "a newer sensor's word"  # type: ignore[arg-type]


def test_an_event_of_a_newer_sensor_has_no_kind_and_no_detail() -> None:
    event = Event.of(event_pb2.StoredEvent(event=event_pb2.Event()))
    assert (event.kind, event.detail) == ("", {})


def test_an_answer_of_the_local_socket_is_a_response() -> None:
    answer = {"response": {"state": "RESPONSE_STATE_VERIFIED", "killed": 3, "elapsed_ns": "5", "from_the_future": 1}}
    found = Response.of_local(answer)
    assert (found.verified, found.killed, found.elapsed_ns) == (True, 3, 5)
