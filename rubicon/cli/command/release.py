"""release."""

from __future__ import annotations

from collections.abc import Callable

from rubicon.cli.respond.options import targets
from rubicon.cli.respond.order import Order


@targets
def release(order: Callable[..., Order]) -> Order:
    """Undo freeze and isolate of each TARGET, and say what cannot be undone: connections stay cut.

    A process (--process) that was frozen or isolated by itself goes on, with its descendants.
    """
    return order()


COMMAND = release
