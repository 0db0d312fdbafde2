"""Rubicon watches what AI agents really do on a host, from the kernel, and stops the ones that cross the line.

What a user imports: `rubicon.Client`, `rubicon.AsyncClient`, what they return and raise (rubicon.client), and the
generated wire (rubicon.v1). The command line is rubicon.cli, which nothing here loads.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than the rest
    from typing import Any

    from rubicon import client as client
    from rubicon.client import Agent as Agent
    from rubicon.client import AgentKilledError as AgentKilledError
    from rubicon.client import Alert as Alert
    from rubicon.client import AsyncAgent as AsyncAgent
    from rubicon.client import AsyncClient as AsyncClient
    from rubicon.client import Client as Client
    from rubicon.client import Coverage as Coverage
    from rubicon.client import Event as Event
    from rubicon.client import NotFound as NotFound
    from rubicon.client import Process as Process
    from rubicon.client import Refused as Refused
    from rubicon.client import Response as Response
    from rubicon.client import RubiconError as RubiconError
    from rubicon.client import RubiconUnreachable as RubiconUnreachable
    from rubicon.client import Tree as Tree
    from rubicon.client import errors as errors

__all__ = [
    "Agent",
    "AgentKilledError",
    "Alert",
    "AsyncAgent",
    "AsyncClient",
    "Client",
    "Coverage",
    "Event",
    "NotFound",
    "Process",
    "Refused",
    "Response",
    "RubiconError",
    "RubiconUnreachable",
    "Tree",
    "client",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = importlib.import_module("rubicon.client")
    value = package if name == "client" else getattr(package, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
