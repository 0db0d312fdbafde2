"""One compact line an event: every kind has words, none trusts what it shows."""

from __future__ import annotations

import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from rubicon.cli.render.lines import _ICONS, _WORDS, alert_block, alert_line, event_line, program, size
from rubicon.client.records.alert import Alert
from rubicon.client.records.event import Event
from rubicon.v1 import alert_pb2, event_pb2, flow_pb2, process_pb2

KINDS = [field.name for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
EVIL = "\x1b[2J\u202e\n"
BAD = re.compile("[\x00-\x1f\x7f-\x9f\u202e]")
FLOW = flow_pb2.Flow(
    protocol=6, family=2, source=bytes([10, 0, 0, 1]), source_port=40000, destination=bytes([203, 0, 113, 9]),
    destination_port=443, direction=flow_pb2.FLOW_DIRECTION_OUTBOUND,
)  # fmt: skip


def event(**kind: object) -> Event:
    message = event_pb2.Event(process=process_pb2.ProcessKey(pid=7, start_time_ns=70), agent_id="a", **kind)  # type: ignore[arg-type]
    return Event.of(event_pb2.StoredEvent(event=message, host="h", boot_id="b"))


def line(one: Event) -> str:
    object.__setattr__(one, "time_ns", 1)
    return "".join(words for words, _ in event_line(one, "agent" + EVIL, lambda _: "prog", lambda icon: icon))[13:]


def filled(message: object, depth: int = 0) -> object:
    """Every text and bytes field evil, every number large."""
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[EVIL] = EVIL
        elif field.message_type:
            if depth < 3:
                inner = getattr(message, field.name)
                filled(inner.add() if field.is_repeated else inner, depth + 1)
        else:
            value: object = {9: EVIL, 12: EVIL.encode() + b"\xff", 8: True, 14: 1}.get(field.type, 7)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_icon_and_words_and_is_harmless(kind: str) -> None:
    assert kind in _ICONS
    assert kind in _WORDS
    message = event_pb2.Event()
    filled(getattr(message, kind))
    for each in (event(**{kind: getattr(message, kind)}), event(**{kind: type(getattr(message, kind))()})):
        shown = line(each)
        assert not BAD.search(shown), shown
        assert shown.encode()
        assert kind in shown


def test_a_kind_of_a_newer_sensor_is_shown_without_words() -> None:
    assert "unknown" in line(event())


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ({"exec": event_pb2.Exec(argv=[b"ls", b"-l", b"a b"], exe="/bin/ls")}, "[7] ls -l 'a b'"),
        ({"exec": event_pb2.Exec(argv=[b"sshd"], exe="/tmp/x", memfd=True)}, "[7] sshd  memfd, = /tmp/x"),
        (
            {"exec": event_pb2.Exec(argv=[b"x"], exe="/x", argv_truncated=True, argv_length=99)},
            "[7] x  cut, 99 bytes",
        ),
        ({"exit": event_pb2.Exit(status=3)}, "prog [7]   status 3"),
        ({"exit": event_pb2.Exit(signal=11, core_dumped=True)}, "signal 11, core dumped"),
        ({"connect": event_pb2.Connect(flow=FLOW, refused=True)}, "prog [7] tcp 203.0.113.9:443  refused"),
        ({"establish": event_pb2.Establish(flow=FLOW)}, "to 203.0.113.9:443  local port 40000"),
        (
            {"close": event_pb2.Close(flow=FLOW, bytes_sent=1500, bytes_received=3, duration_ns=2 * 10**9)},
            "203.0.113.9:443  1.5 kB out, 3 B in, 2.00 s",
        ),
        (
            {"payload": event_pb2.Payload(data=b"SSH-2.0-x\r\n", length=11, outbound=True)},
            "out SSH-2.0-x\\r\\n  11 bytes",
        ),
        ({"unix_connect": event_pb2.UnixConnect(path="/run/docker.sock")}, "/run/docker.sock"),
        (
            {
                "loss": event_pb2.Loss(
                    count=3, event_class=event_pb2.EVENT_CLASS_FLOW, reason=event_pb2.LOSS_REASON_RING_FULL
                )
            },
            "3 flow records  ring full",
        ),
        (
            {"contain": event_pb2.Contain(frozen=True, isolated=True, requested_by="uid 0", reason="wait")},
            "frozen, isolated  by uid 0: wait",
        ),
        ({"contain": event_pb2.Contain()}, "released  its time is over"),
        ({"tamper": event_pb2.Tamper(action="local-socket", detail="asked")}, "local-socket  asked"),
    ],
)
def test_words(kind: dict[str, object], shown: str) -> None:
    assert line(event(**kind)).rstrip().endswith(shown)


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1000, 1_500_000, 10**15)] == ["0 B", "999 B", "1.0 kB", "1.5 MB", "1000.0 TB"]


def test_an_alert_is_harmless_whatever_is_in_it() -> None:
    message = alert_pb2.Alert()
    filled(message)
    alert = Alert.of(message)
    for parts in [alert_line(alert, lambda icon: icon), *alert_block(alert, lambda icon: icon)]:
        text = "".join(words for words, _ in parts)
        assert not BAD.search(text), text


def test_an_alert_without_a_process_or_flow() -> None:
    alert = Alert.of(alert_pb2.Alert(title="t", severity=alert_pb2.SEVERITY_HIGH, time=Timestamp(seconds=1)))
    assert "?[?] t" in "".join(words for words, _ in alert_line(alert, lambda icon: icon))
    assert program(None) == "?"
