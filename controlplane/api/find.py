"""Finds what a caller names."""

from __future__ import annotations

import asyncio

from controlplane.errors import AgentNotFound, InvalidArgument
from controlplane.store.store import Store
from rubicon.v1 import agent_pb2


async def agent(store: Store, text: str) -> agent_pb2.Agent:
    """The agent of this id, name or unique id prefix of at least 4 digits.

    Raises:
        InvalidArgument: empty.
        AgentNotFound: none, or several begin with it.
    """
    if not text:
        raise InvalidArgument("agent is empty", "name an agent by id, unique id prefix (4 digits or more) or name")
    found = await asyncio.to_thread(store.entities.agent, text)
    if found is None:
        raise AgentNotFound(f"no agent is called {text!r}, or several ids begin with it")
    return found


async def agent_ids(store: Store, text: str) -> frozenset[str]:
    """The ids that a filter means: empty for no filter.

    Raises:
        AgentNotFound: it names nobody.
    """
    return frozenset({(await agent(store, text)).id}) if text else frozenset()
