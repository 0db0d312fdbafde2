"""From what a caller names to the agent, the host and the process that are meant."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.errors import AgentEnded, AgentNotFound, InvalidArgument, ProcessNotFound
from controlplane.model import Boot, ProcessKey
from controlplane.respond.ledger import Ledger
from controlplane.respond.ports import Trees
from rubicon.v1 import agent_pb2, process_pb2, response_pb2


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

    @property
    def pending(self) -> bool:
        """Nothing was enrolled yet."""
        return self.agent.state == agent_pb2.AGENT_STATE_PENDING


def wire_key(key: ProcessKey) -> process_pb2.ProcessKey:
    """For a host, which has but one boot."""
    return process_pb2.ProcessKey(pid=key.pid, start_time_ns=key.start_time_ns)


def is_detached(agent: agent_pb2.Agent) -> bool:
    """Its watch was ended while processes went on."""
    return agent.state == agent_pb2.AGENT_STATE_FINISHED and bool(agent.processes)


async def resolve(target: response_pb2.Target, ledger: Ledger, trees: Trees) -> Resolved:
    """Find the target.

    Raises:
        InvalidArgument: the target names nothing.
        AgentNotFound, ProcessNotFound: there is no such agent or process.
        AgentEnded: the agent was finished while processes went on: they are nobody's now.
    """
    kind = target.WhichOneof("kind")
    if kind == "process":
        return await _process(target, ledger, trees)
    if kind != "agent" or not target.agent:
        raise InvalidArgument("target names neither an agent nor a process")
    agent = await ledger.agent(target.agent)
    if agent is None:
        raise AgentNotFound(f"no agent is called {target.agent!r}, or several ids begin with it")
    live = trees.agent(agent.id)
    boot = live.boot if live is not None and live.boot is not None else Boot(agent.host, agent.root.boot_id)
    ended = live.ended if live is not None else agent.state != agent_pb2.AGENT_STATE_RUNNING
    if is_detached(agent):
        raise AgentEnded(
            f"agent {agent.name} was finished and {agent.processes} of its processes went on unwatched",
            "end them by other means: Rubicon does not follow them any more",
        )
    return Resolved(agent, boot, None, ended)


async def _process(target: response_pb2.Target, ledger: Ledger, trees: Trees) -> Resolved:
    wanted = target.process
    if not wanted.pid:
        raise InvalidArgument("target.process has no pid")
    entity = trees.find(wanted.host, wanted.boot_id, wanted.pid, wanted.start_time_ns)
    if entity is not None:
        agent = await ledger.agent(entity.agent_id)
        if agent is None:
            raise AgentNotFound(f"agent {entity.agent_id} is not stored yet", "try again")
        over = not entity.alive and not trees.descendants(entity.agent_id, entity.key)
        return Resolved(agent, entity.boot, entity.key, over)
    stored = await ledger.process(wanted) if wanted.start_time_ns else None
    agent = await ledger.agent(stored.agent_id) if stored is not None else None
    if stored is None or agent is None:
        when = f" that started at {wanted.start_time_ns} ns" if wanted.start_time_ns else ", alive"
        raise ProcessNotFound(f"no agent has a process {wanted.pid}{when}")
    boot = Boot(stored.id.host, stored.id.boot_id)
    return Resolved(agent, boot, ProcessKey(stored.id.pid, stored.id.start_time_ns), True)
