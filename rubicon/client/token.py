"""Tokens for the plane, from the sensor's local socket; renewed before they expire."""

from __future__ import annotations

import threading
import time

from rubicon.client.local import LocalSocket
from rubicon.v1.instance import Instance

MARGIN_S = 20.0
"""Seconds before its end at which a token is renewed: longer than a slow call takes to reach the plane."""


class TokenSource:
    """Hands out a valid token; any thread may ask.

    A token is the process's own, so a forked child needs a source (and a client) of its own.
    """

    def __init__(self, instance: Instance) -> None:
        self._socket = LocalSocket(instance)
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def fresh(self) -> str | None:
        """The token in hand, or None when it has to be renewed. Never blocks on the sensor."""
        return self._token if time.time() < self._until - MARGIN_S else None

    def token(self) -> str:
        """A valid token; asks the sensor when there is none in hand.

        Raises:
            RubiconUnreachable, Refused: as `LocalSocket.call`.
        """
        with self._lock:
            held = self.fresh()
            if held is None:
                answer = self._socket.call("attest", timeout=10)
                held = self._token = str(answer["token"])
                self._until = float(answer["expires_at"])
            return held

    def forget(self) -> None:
        """The plane does not take the token any more (its key was renewed, or the clock was set)."""
        self._until = 0.0
