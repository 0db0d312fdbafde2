"""The size pattern of a request for a remote forward, right after authentication.

What is looked for, and nothing else, so that sizes never raise a false alarm by themselves:

* USERAUTH_SUCCESS: the first inbound packet that is exactly 16 bytes smaller than an earlier inbound one
  (SERVICE_ACCEPT; true for every mode in MODES) and is a size that a one-byte payload can have. Its size is m.
* The client's first packet after it can be a tcpip-forward request (RFC 4254 7.1: 27 bytes and a bind address of at
  most 16), and then one of
  (a) within 0.1 s and with no small answer in between, the client writes the opening of a session,
      `no-more-sessions`, or both, in exactly their sizes: OpenSSH flushes each forward request on its own, and
      without one these come first. Then it may be a streamlocal-forward request, too (OpenSSH PROTOCOL 2.4);
  (b) the server's first small answer has exactly m bytes: REQUEST_SUCCESS or REQUEST_FAILURE. Opening a channel is
      answered by m + 16 or more and `no-more-sessions` not at all. A keepalive is answered so, too: it comes later, or
      after `no-more-sessions`, and then nothing is said;
  (c) it comes at once, and its size is no other first packet's: not that of opening a session, of `no-more-sessions`
      or of a keepalive.
"""

from __future__ import annotations

from controlplane.detectors._ssh.wire import LEAST_SIZES, Mode, modes_of

ACCEPT_ABOVE_LEAST = 16
FORWARD = (27, 27 + 16)
FORWARD_UNIX = (37 + 4 + 2, 37 + 4 + 108)
IGNORE = 5
SESSION = 24
NO_MORE_SESSIONS = 34
KEEPALIVE = 27
_OTHERS = (SESSION, *range(22, KEEPALIVE + 1))
"""Payloads of other first packets; keepalives of several implementations have names of 16 to 21 bytes."""
_TOGETHER_NS = 100_000_000
_AT_ONCE_NS = 500_000_000
_UNASKED_NS = 20_000_000
_MANY_INBOUND = 64


class Shape:
    """Fed with every packet of one client's connection in order; says once that the pattern is complete."""

    __slots__ = (
        "_asked",
        "_earlier",
        "_first_ns",
        "_leading",
        "_one_write",
        "_sent",
        "decided",
        "least",
        "modes",
        "success_ns",
    )

    def __init__(self, *, one_write: bool = False) -> None:
        """`one_write`: the client is one that writes a session's opening and `no-more-sessions` together (OpenSSH)."""
        self._one_write = one_write
        self._earlier: set[int] = set()
        self._sent = False
        self._leading: list[int] = []
        self._first_ns = 0
        self.least = 0
        """m, or 0 while it is not known."""
        self.success_ns = 0
        self.modes: tuple[Mode, ...] = ()
        """Those in which the smallest packet has m bytes; empty while it is not known."""
        self._asked: tuple[Mode, ...] = ()
        """Those of them in which the first packet may be a request."""
        self.decided = False

    @property
    def noise(self) -> frozenset[int]:
        """Sizes of an empty SSH_MSG_IGNORE (RFC 4253 11.2), which may stand before any packet; empty while m is not
        known."""
        return frozenset(mode.size(IGNORE) for mode in self.modes)

    def packet(self, time_ns: int, outbound: bool, length: int) -> str:
        """Takes one packet (kernel time, direction, payload bytes); the pattern in words when this one completes it,
        else empty."""
        if self.decided:
            return ""
        if not self.least:
            self._authentication(time_ns, outbound, length)
            return ""
        return self._outbound(time_ns, length) if outbound else self._inbound(length)

    def _authentication(self, time_ns: int, outbound: bool, length: int) -> None:
        if outbound:
            self._sent = True
            return
        if length in LEAST_SIZES and self._sent and length + ACCEPT_ABOVE_LEAST in self._earlier:
            self.least, self.success_ns = length, time_ns
            self.modes = modes_of(length)
            self._earlier.clear()
            return
        self._earlier.add(length)
        if len(self._earlier) > _MANY_INBOUND:
            self.decided = True

    def _outbound(self, time_ns: int, length: int) -> str:
        if length in self.noise:
            return ""
        if not self._leading:
            return self._first(time_ns, length)
        if time_ns - self._first_ns > _TOGETHER_NS:
            self.decided = True
            return ""
        if any(self._opens(mode, length) for mode in self._asked):
            self.decided = True
            return (
                f"after authentication {len(self._leading)} lone packet(s) of {self._leading[0]} bytes, the size of a "
                f"remote-forward request, then {length} bytes, the opening of a session, before any answer"
            )
        modes = self._asking(time_ns, length)
        if not modes:
            self.decided = True
            return ""
        self._leading.append(length)
        return ""

    def _first(self, time_ns: int, length: int) -> str:
        self._first_ns = time_ns
        modes = self._asking(time_ns, length)
        if not modes or any(length == mode.size(SESSION) + mode.size(NO_MORE_SESSIONS) for mode in self.modes):
            self.decided = True
            return ""
        payloads = (*_OTHERS, NO_MORE_SESSIONS) if self._one_write else _OTHERS
        others = {mode.size(payload) for mode in self.modes for payload in payloads}
        certain = all(mode.fits(length, *FORWARD) for mode in self.modes if mode.may(length))
        if certain and length not in others and time_ns - self.success_ns <= _UNASKED_NS:
            self.decided = True
            return (
                f"after authentication the first packet has {length} bytes: the size of a remote-forward request, and of "
                "nothing else that a client begins with"
            )
        self._asked = modes
        self._leading.append(length)
        return ""

    def _asking(self, time_ns: int, length: int) -> tuple[Mode, ...]:
        """The modes in which a packet of this size may ask for a forward."""
        early = self._one_write and time_ns - self.success_ns <= _TOGETHER_NS
        ranges = (FORWARD, FORWARD_UNIX) if early else (FORWARD,)
        return tuple(mode for mode in self.modes if any(mode.fits(length, *each) for each in ranges))

    def _opens(self, mode: Mode, length: int) -> bool:
        both = mode.size(SESSION) + mode.size(NO_MORE_SESSIONS)
        if self._leading[0] == mode.size(SESSION):
            # may be a session itself: only what cannot follow one of its own will do
            return length == both or (self._one_write and length == mode.size(NO_MORE_SESSIONS))
        if self._leading[0] == mode.size(NO_MORE_SESSIONS) and length == mode.size(KEEPALIVE):
            # may be `ssh -N` and its first keepalive, which comes at the next turn of a second
            return False
        return length in (both, mode.size(SESSION), mode.size(NO_MORE_SESSIONS))

    def _inbound(self, length: int) -> str:
        if not self._leading:
            return ""
        if length == self.least:
            asked_at_once = self._first_ns - self.success_ns <= _AT_ONCE_NS
            self.decided = True
            short = any(mode.fits(self._leading[0], *FORWARD) for mode in self._asked)
            keepalive = any(mode.size(KEEPALIVE) in self._leading[1:] for mode in self._asked)
            if asked_at_once and short and not keepalive:
                return (
                    f"after authentication {len(self._leading)} lone packet(s) of {self._leading[0]} bytes, the size of a "
                    f"remote-forward request, answered by {length} bytes, the smallest packet of this connection"
                )
        elif any(length <= mode.size(FORWARD[1]) for mode in self._asked):
            self.decided = True
        return ""
