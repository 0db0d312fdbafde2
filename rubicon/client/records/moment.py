"""Times of the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000


def nanoseconds(stamp: Timestamp) -> int:
    """Nanoseconds since 1970; 0 for an empty stamp."""
    return int(stamp.seconds) * _SECOND + int(stamp.nanos)


def moment(ns: int) -> datetime | None:
    """An aware datetime (the nanoseconds below a microsecond are cut); None for 0."""
    return _EPOCH + timedelta(microseconds=ns // 1000) if ns else None


def stamp(when: datetime | None) -> Timestamp | None:
    """The inverse of `moment`, for requests; a naive time is taken as UTC."""
    if when is None:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    ns = (aware - _EPOCH) // timedelta(microseconds=1) * 1000
    return Timestamp(seconds=ns // _SECOND, nanos=ns % _SECOND)


def rfc3339(ns: int) -> str | None:
    """RFC 3339 with nanoseconds, UTC; None for 0."""
    if not ns:
        return None
    seconds, rest = divmod(ns, _SECOND)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
