"""The size pattern of a request for a remote forward in a connection that has been up for a while, as a control master
sends it: one lone packet of its size, answered by exactly the smallest one.

Only where the smallest packet can be nothing but REQUEST_SUCCESS or REQUEST_FAILURE (chacha20-poly1305, OpenSSH's
default: its blocks of 8 bytes tell one byte of payload from a channel's messages, which have 5 or more), and where the
lone packet is no keepalive.
"""

from __future__ import annotations

from controlplane.detectors._ssh.shape import FORWARD, KEEPALIVE
from controlplane.detectors._ssh.wire import Mode

_SMALLEST_CHANNEL_MESSAGE = 5
_CONFIRMATION_ABOVE_LEAST = 16
_QUIET_NS = 2_000_000
_ANSWER_NS = 5_000_000_000


class Later:
    """Fed with every packet after authentication."""

    __slots__ = ("_asked_ns", "_keepalive", "_last_ns", "_length")

    def __init__(self) -> None:
        self._last_ns = 0
        self._length = 0
        self._asked_ns = 0
        self._keepalive = False
        """One is not answered yet."""

    def packet(self, time_ns: int, outbound: bool, length: int, least: int, modes: tuple[Mode, ...]) -> str:
        """Takes one packet; m and the modes that m allows are known. The pattern in words when this one completes
        it, else empty."""
        quiet, self._last_ns = time_ns - self._last_ns >= _QUIET_NS, time_ns
        if outbound:
            self._length, self._asked_ns = 0, time_ns
            if any(length == mode.size(KEEPALIVE) for mode in modes if _tells(mode)):
                self._keepalive = True
            elif quiet and _asks(length, modes):
                self._length = length
            return ""
        length_asked, self._length = self._length, 0
        if length != least:
            # opening a session has a keepalive's size; this is its answer
            self._keepalive = self._keepalive and length != least + _CONFIRMATION_ABOVE_LEAST
            return ""
        if self._keepalive:
            self._keepalive = False
            return ""
        if not length_asked or time_ns - self._asked_ns > _ANSWER_NS:
            return ""
        return (
            f"in a quiet connection one packet of {length_asked} bytes, the size of a remote-forward request, answered by "
            f"{length} bytes, the smallest packet of this connection"
        )


def _asks(length: int, modes: tuple[Mode, ...]) -> bool:
    possible = [mode for mode in modes if mode.may(length)]
    return bool(possible) and all(_tells(mode) and mode.fits(length, *FORWARD) for mode in possible)


def _tells(mode: Mode) -> bool:
    return mode.size(1) < mode.size(_SMALLEST_CHANNEL_MESSAGE)
