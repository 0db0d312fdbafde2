"""freeze."""

from __future__ import annotations

from collections.abc import Callable

from rubicon.cli.respond.options import force_option, targets, ttl_option
from rubicon.cli.respond.order import Order


@targets
@ttl_option
@force_option
def freeze(order: Callable[..., Order], ttl: float | None, force: bool) -> Order:
    """Stop every process of each TARGET without its consent, and return when none runs; 'release' lets it go on.

    Targets as for 'kill'. A frozen agent can be killed. It stays frozen while plane and sensor are dead.
    """
    return order(ttl=ttl, force=force)


COMMAND = freeze
