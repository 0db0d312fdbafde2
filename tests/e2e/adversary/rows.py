"""One attack, and what it must come to for each adversary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.e2e.adversary.field import Container, privileged, under_profile
from tests.e2e.host import Host

NOT_THERE = frozenset({"ENOENT", "ESRCH"})
"""A container does not show it."""
REFUSED = frozenset({"EPERM", "EACCES", "EROFS", "EINVAL"})
NO_FAMILY = frozenset({"EAFNOSUPPORT"})
DONE = frozenset({"ok"})
EITHER = DONE | REFUSED | NOT_THERE
"""Nothing of Rubicon decides it: the table says so, and the test does not."""


@dataclass(frozen=True)
class Row:
    """`contained`: in a container; `launched`: root under `rubicon run`; `host`: with --privileged."""

    attack: str
    contained: frozenset[str] = REFUSED
    launched: frozenset[str] = REFUSED
    host: frozenset[str] = DONE


def check(host: Host, container: Container, rows: Sequence[Row]) -> None:
    """Run them all, once for each adversary."""
    words = [row.attack for row in rows]
    came = {
        "contained": container(*words),
        "launched": under_profile(host, *words),
        "host": privileged(host, *words),
    }
    wrong = [
        f"{who}: {row.attack}: {what}"
        for who, results in came.items()
        for row, what in zip(rows, results, strict=True)
        if what not in getattr(row, who)
    ]
    assert not wrong, "\n".join(wrong)
