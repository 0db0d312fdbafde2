"""Refusals of one kind by one user: the first of a minute are kept one by one, the others are counted.

Whoever may speak to the plane at all could otherwise fill its disk with calls that are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.audit.record import Deed

ONE_BY_ONE = 20
MINUTE = 60.0
_MOST = 1000
"""Kinds that are told apart; a user makes a few."""


@dataclass(slots=True)
class _Kind:
    since: float
    kept: int = 0
    counted: int = 0


class Flood:
    """Not for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._now = clock
        self._kinds: dict[tuple[str, str, str], _Kind] = {}

    def counts(self, identity: str, deed: Deed, outcome: str) -> bool:
        """This one is only counted."""
        user = identity.partition(" pid ")[0]
        name = (user, deed.action, outcome) if len(self._kinds) < _MOST else ("many users", deed.action, outcome)
        kind = self._kinds.setdefault(name, _Kind(self._now()))
        if kind.kept < ONE_BY_ONE:
            kind.kept += 1
            return False
        kind.counted += 1
        return True

    def over(self) -> list[tuple[str, Deed, str, str]]:
        """(identity, deed, outcome, how many in words) of what was counted in minutes that are over."""
        late = [name for name, kind in self._kinds.items() if self._now() - kind.since >= MINUTE]
        found = []
        for name in late:
            kind = self._kinds.pop(name)
            if kind.counted:
                user, action, outcome = name
                words = f"{kind.counted} more like the {kind.kept} before, within {self._now() - kind.since:.0f} s"
                found.append((user, Deed(action, ""), outcome, words))
        return found
