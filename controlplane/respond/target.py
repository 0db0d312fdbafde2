"""From what a caller names to the agent, the host and the process that are meant."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.errors import AgentNotFound, InvalidArgument, ProcessNotFound
from controlplane.model import Boot, ProcessKey
from controlplane.respond.ports import Ledger, Trees
from rubicon.v1 import agent_pb2, response_pb2


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a response is about."""

    agent: agent_pb2.Agent
    boot: Boot
    """Host '' while the agent is pending."""
    process: ProcessKey | None
    """None for the whole agent."""
    over: bool
    """There is nothing left to do: the agent, or the process with all its descendants, has ended."""


async def resolve(target: response_pb2.Target, ledger: Ledger, trees: Trees) -> Resolved:
    """Find the target.

    Raises:
        InvalidArgument: the target names nothing.
        AgentNotFound, ProcessNotFound: there is no such agent or process.
    """
    kind = target.WhichOneof("kind")
    if kind == "process":
        return await _process(target, ledger, trees)
    if kind != "agent" or not target.agent:
        raise InvalidArgument("target names neither an agent nor a process")
    agent = await ledger.agent(target.agent)
    if agent is None:
        raise AgentNotFound(f"there is no agent {target.agent!r}")
    live = trees.agent(agent.id)
    ended = live.ended if live is not None else agent.state not in _LIVING
    return Resolved(agent, _boot(agent, trees), None, ended or agent.state == agent_pb2.AGENT_STATE_PENDING)


async def _process(target: response_pb2.Target, ledger: Ledger, trees: Trees) -> Resolved:
    wanted = target.process
    if not wanted.pid:
        raise InvalidArgument("target.process has no pid")
    process = await ledger.process(wanted)
    if process is None:
        raise ProcessNotFound(
            f"no agent has a process {wanted.pid} that was started at {wanted.start_time_ns} ns"
            if wanted.start_time_ns
            else f"no agent has a living process {wanted.pid}"
        )
    agent = await ledger.agent(process.agent_id)
    if agent is None:
        raise AgentNotFound(f"there is no agent {process.agent_id!r}")
    key = ProcessKey(process.id.pid, process.id.start_time_ns)
    view = trees.view(agent.id)
    entity = view.process(key) if view is not None else None
    alive = entity.alive if entity is not None else not process.HasField("ended_at")
    over = view is None or not (alive or trees.descendants(agent.id, key))
    return Resolved(agent, Boot(process.id.host, process.id.boot_id), key, over)


def _boot(agent: agent_pb2.Agent, trees: Trees) -> Boot:
    live = trees.agent(agent.id)
    if live is not None and live.boot is not None:
        return live.boot
    return Boot(agent.host, agent.root.boot_id)


_LIVING = (agent_pb2.AGENT_STATE_PENDING, agent_pb2.AGENT_STATE_RUNNING)
