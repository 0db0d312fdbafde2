"""kill."""

from __future__ import annotations

from collections.abc import Callable

from rubicon.cli.respond.options import force_option, targets
from rubicon.cli.respond.order import Order


@targets
@force_option
def kill(order: Callable[..., Order], force: bool) -> Order:
    """End every process of each TARGET, and return when the kernel says that none is left.

    TARGET is an agent (id, unique id prefix or name) or one of an agent's processes with its descendants: PID,
    pid:PID, or PID@START with the start time that 'tree --json' shows, so that a reused pid is no danger.

    Nothing else is ever killed: not pid 1, not the sensor, and the caller itself only with --force. When something is
    left (in D state, say) it is listed, stays condemned, and the exit status is 6.
    """
    return order(force=force)


COMMAND = kill
