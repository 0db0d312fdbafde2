"""A host for a soak, under the lock that root tests share; nothing of it is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.e2e.host import Host
from tests.turns import recorded, turn


@contextlib.contextmanager
def stand() -> Iterator[Host]:
    """Plane and sensor are up inside."""
    made = Host()
    with turn(), recorded(made.instance):
        try:
            done = made.rubicon("up")
            assert done.returncode == 0, done.stderr
            yield made
        finally:
            made.rubicon("kill", "--all", "--yes")
            made.rubicon("down", "--yes")
