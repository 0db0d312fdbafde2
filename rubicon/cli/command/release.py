"""release."""

from __future__ import annotations

from collections.abc import Callable

from rubicon.cli.respond.options import targets
from rubicon.cli.respond.order import Order


@targets
def release(order: Callable[..., Order]) -> Order:
    """Undo freeze and isolate of each TARGET, a whole agent, and say what cannot be undone: connections stay cut."""
    return order()


COMMAND = release
