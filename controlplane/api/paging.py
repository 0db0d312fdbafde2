"""Page tokens and cursors: opaque to callers, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import struct

from controlplane.errors import CursorInvalid, InvalidArgument
from controlplane.store.entities import PageKey

_DEFAULT, _MOST = 100, 1000
_CURSOR = struct.Struct(">4sQ")
_MAGIC = b"rbc1"


def size(wanted: int) -> int:
    """Page size to use; 0 means 100, never above 1000.

    Raises:
        InvalidArgument: negative.
    """
    if wanted < 0:
        raise InvalidArgument(f"page_size {wanted} is negative")
    return min(wanted or _DEFAULT, _MOST)


def token(time_ns: int, key: str) -> str:
    """Token of the page after the entity with this time and id."""
    return base64.urlsafe_b64encode(f"{time_ns}/{key}".encode()).decode().rstrip("=")


def parse(text: str) -> PageKey | None:
    """The inverse; None for the first page.

    Raises:
        InvalidArgument: not one of ours.
    """
    if not text:
        return None
    try:
        digits, _, key = _decode(text).decode().partition("/")
        time_ns = int(digits)
        if abs(time_ns) >= 2**63:  # no column could be compared with it
            raise ValueError(text)
    except ValueError:
        raise InvalidArgument("page_token is not one of ours", "take next_page_token of the last response") from None
    return time_ns, key


def cursor(position: int) -> str:
    """Cursor to resume after the event at this position."""
    return base64.urlsafe_b64encode(_CURSOR.pack(_MAGIC, position)).decode().rstrip("=")


def parse_cursor(text: str, first: int, head: int) -> int:
    """Position to go on from.

    Args:
        first: the first position that is still stored.
        head: the position that the next event will get.

    Raises:
        CursorInvalid: not one of ours, or its events are gone, or of another store.
    """
    try:
        magic, position = _CURSOR.unpack(_decode(text))
    except (ValueError, struct.error):
        raise CursorInvalid("the cursor is not one of ours") from None
    if magic != _MAGIC:
        raise CursorInvalid("the cursor is not one of ours")
    if position + 1 < first:
        raise CursorInvalid("the events after this cursor are no longer stored")
    if position >= head:
        raise CursorInvalid("the cursor is ahead of what is stored: it comes from another store")
    return int(position) + 1


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError(text) from None
