"""What was lost, told exactly once: the hooks count up, the difference to what was last told goes out as events.

What was told is a ledger that the spool writes in one entry with the events that tell it. So after a crash the two
agree: a loss is neither told twice nor forgotten. A ledger counts for one map epoch; new maps begin at zero."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

import orjson

from rubicon.v1 import event_pb2, ids

Account = tuple[int, int, int]
"""agent number, event class, reason: the numbers of bpf/events.h, which are those of event.proto"""


class LossLedger:
    """Turns cumulative counters into loss events."""

    def __init__(self, epoch: int, told: bytes = b"") -> None:
        """Continue from a ledger that an earlier sensor wrote; one of another epoch, or a damaged one, counts as
        empty."""
        self._epoch = epoch
        self._told: dict[Account, int] = {}
        self._own: Counter[Account] = Counter()
        self._lock = threading.Lock()
        try:
            ledger = orjson.loads(told) if told else {}
            if ledger.get("epoch") == epoch:
                self._told = {(int(a), int(c), int(r)): int(n) for a, c, r, n in ledger["told"]}
        except (ValueError, TypeError, KeyError, AttributeError):
            self._told = {}

    def count(self, agent: int, event_class: int, reason: int, count: int = 1) -> None:
        """A loss that the sensor itself found, e.g. a record that it could not decode. Any thread."""
        with self._lock:
            self._own[agent, event_class, reason] += count

    def changes(self, cumulative: Mapping[Account, int] | None) -> list[event_pb2.Event]:
        """Events for what was lost since the last call, without record ids; None leaves the kernel's counters alone.

        A counter that went back was deleted and made anew (its agent ended): then all of it is new.
        """
        with self._lock:
            lost, self._own = self._own, Counter()
        if cumulative is not None:
            for account, total in cumulative.items():
                before = self._told.get(account, 0)
                delta = total - before if total >= before else total
                if delta:
                    lost[account] += delta
            self._told = dict(cumulative)
        return [
            event_pb2.Event(
                agent_id=ids.agent_id(agent),
                loss=event_pb2.Loss(event_class=event_class, reason=reason, count=number),  # type: ignore[arg-type]
            )
            for (agent, event_class, reason), number in sorted(lost.items())
        ]

    def dump(self) -> bytes:
        """The ledger as the spool keeps it."""
        return orjson.dumps(
            {"epoch": self._epoch, "told": [[*account, total] for account, total in self._told.items()]}
        )
