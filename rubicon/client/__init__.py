"""The typed client of the plane, sync and asyncio over the same request builders.

A whole orchestrator:

    import subprocess
    import rubicon

    GATE = ["sh", "-c", 'read -r go && exec "$@"', "sh"]  # holds the rollout until it is enrolled

    with rubicon.Client() as client:
        agent = client.agents.create("rollout-7", labels={"episode": "7"})
        rollout = subprocess.Popen([*GATE, "./rollout.sh"], stdin=subprocess.PIPE, text=True)
        agent.enrol(pid=rollout.pid)
        print("go", file=rollout.stdin, flush=True)
        for alert in agent.watch(min_severity="high"):
            print(alert.time, alert.title, alert.process.exe)
            agent.kill(reason=alert.title)
            break

Names are loaded when they are first used: importing this package costs nothing, and neither the CLI nor a terminal
library is ever loaded by it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rubicon.client import errors as errors
    from rubicon.client.agents import Agent as Agent
    from rubicon.client.aio import AsyncClient as AsyncClient
    from rubicon.client.aio_agents import AsyncAgent as AsyncAgent
    from rubicon.client.errors import AgentKilledError as AgentKilledError
    from rubicon.client.errors import NotFound as NotFound
    from rubicon.client.errors import Refused as Refused
    from rubicon.client.errors import RubiconError as RubiconError
    from rubicon.client.errors import RubiconUnreachable as RubiconUnreachable
    from rubicon.client.records.alert import Alert as Alert
    from rubicon.client.records.alert import AlertFlow as AlertFlow
    from rubicon.client.records.alert import Evidence as Evidence
    from rubicon.client.records.coverage import Coverage as Coverage
    from rubicon.client.records.coverage import CoverageFact as CoverageFact
    from rubicon.client.records.event import Event as Event
    from rubicon.client.records.process import Process as Process
    from rubicon.client.records.response import Response as Response
    from rubicon.client.records.response import Survivor as Survivor
    from rubicon.client.records.rule import Rule as Rule
    from rubicon.client.records.tree import Tree as Tree
    from rubicon.client.sync import Client as Client

_HOMES = {
    "Agent": "agents",
    "AgentKilledError": "errors",
    "Alert": "records.alert",
    "AlertFlow": "records.alert",
    "AsyncAgent": "aio_agents",
    "AsyncClient": "aio",
    "Client": "sync",
    "Coverage": "records.coverage",
    "CoverageFact": "records.coverage",
    "Event": "records.event",
    "Evidence": "records.alert",
    "NotFound": "errors",
    "Process": "records.process",
    "Refused": "errors",
    "Response": "records.response",
    "RubiconError": "errors",
    "RubiconUnreachable": "errors",
    "Rule": "records.rule",
    "Survivor": "records.response",
    "Tree": "records.tree",
}
__all__ = [*sorted(_HOMES), "errors"]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("rubicon.client.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rubicon.client.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
