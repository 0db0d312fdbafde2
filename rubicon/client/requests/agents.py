"""Agents and their trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rubicon.client.errors import InvalidArgument
from rubicon.client.records.process import Process
from rubicon.client.requests.call import PAGE, Call, message, token
from rubicon.v1 import agent_pb2, agent_service_pb2, process_pb2


def create_agent(name: str, labels: Mapping[str, str], on_alert: str) -> Call[agent_pb2.Agent]:
    """A pending agent."""
    request = message(agent_service_pb2.CreateAgentRequest, name=name, labels=labels, on_alert=on_alert)
    return Call("AgentService", "CreateAgent", request, _agent)


def enrol_agent(agent: str, pid: int | None, start_time: int, cgroup: str | None, host: str) -> Call[agent_pb2.Agent]:
    """Enrol a process with its descendants, or a cgroup.

    Raises:
        InvalidArgument: neither or both are given.
    """
    if (pid is None) == (cgroup is None):
        raise InvalidArgument("enrol: give either pid or cgroup")
    request = message(agent_service_pb2.EnrolAgentRequest, agent=agent, host=host)
    if pid is not None:
        request.process.CopyFrom(message(process_pb2.ProcessKey, pid=pid, start_time_ns=start_time))
    else:
        request.MergeFrom(message(agent_service_pb2.EnrolAgentRequest, cgroup_path=cgroup))
    return Call("AgentService", "EnrolAgent", request, _agent, timeout=60)


def get_agent(agent: str) -> Call[agent_pb2.Agent]:
    """One agent by id, id prefix or name."""
    return Call("AgentService", "GetAgent", message(agent_service_pb2.GetAgentRequest, agent=agent), _agent)


def list_agents(everyone: bool, labels: Mapping[str, str]) -> Call[list[agent_pb2.Agent]]:
    """A page of agents, newest first."""
    request = message(agent_service_pb2.ListAgentsRequest, all=everyone, labels=labels, page_size=PAGE)
    return Call("AgentService", "ListAgents", request, lambda answer: list(answer.agents), next_page=token)


def finish_agent(agent: str, detach: bool) -> Call[agent_pb2.Agent]:
    """End the watch."""
    request = message(agent_service_pb2.FinishAgentRequest, agent=agent, detach=detach)
    return Call("AgentService", "FinishAgent", request, _agent, timeout=60)


def get_tree(agent: str, everyone: bool, show_secrets: bool) -> Call[tuple[agent_pb2.Agent, list[Process]]]:
    """An agent with its processes, parents before children."""
    request = message(agent_service_pb2.GetAgentTreeRequest, agent=agent, all=everyone, show_secrets=show_secrets)
    return Call(
        "AgentService", "GetAgentTree", request, lambda answer: (answer.agent, [*map(Process.of, answer.processes)])
    )


def _agent(answer: Any) -> agent_pb2.Agent:
    found: agent_pb2.Agent = answer.agent
    return found
