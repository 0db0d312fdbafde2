"""AgentService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from controlplane import model
from controlplane.api import find, mask, paging
from controlplane.api.hub import Hub
from controlplane.audit.audit import caller
from controlplane.errors import AgentEnded, AgentNameTaken, CommandTimeout, InvalidArgument, from_sensor
from controlplane.ingest.sensors import Sensors
from controlplane.store import convert, schema
from controlplane.store.entities import LIVING
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc, event_pb2, ids, names, sensor_service_pb2

_ON_ALERT = ("monitor", "kill")
_LABELS, _KEY, _VALUE = 64, 128, 1024


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Agents: create, enrol, look, finish."""

    def __init__(self, store: Store, sensors: Sensors, hub: Hub, command_timeout: float) -> None:
        """
        Args:
            command_timeout: seconds that a sensor may take.
        """
        self._store = store
        self._sensors = sensors
        self._hub = hub
        self._timeout = command_timeout
        self._naming = asyncio.Lock()

    async def CreateAgent(  # noqa: N802
        self, request: agent_service_pb2.CreateAgentRequest, context: Any
    ) -> agent_service_pb2.CreateAgentResponse:
        """Raises: InvalidArgument, AgentNameTaken, StoreUnavailable."""
        agent_id = ids.new_agent_id()
        name = request.name or f"agent-{agent_id[:6]}"
        try:
            names.checked(name)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        on_alert = request.on_alert or "monitor"
        if on_alert not in _ON_ALERT:
            raise InvalidArgument(f"on_alert {on_alert!r}: use 'monitor' or 'kill'")
        labels = dict(request.labels)
        if len(labels) > _LABELS or any(not k or len(k) > _KEY or len(v) > _VALUE for k, v in labels.items()):
            raise InvalidArgument(f"labels: at most {_LABELS}, keys of 1 to {_KEY} and values of {_VALUE} characters")
        entity = model.Agent(
            id=agent_id,
            name=name,
            labels=labels,
            state=agent_pb2.AGENT_STATE_PENDING,
            started_wall_ns=time.time_ns(),
            on_alert=on_alert,
        )
        async with self._naming:
            taken = await asyncio.to_thread(self._store.entities.agent, name)
            if taken is not None and taken.name == name and taken.state in LIVING:
                raise AgentNameTaken(f"agent {taken.id} is called {name!r} and lives")
            write = Write()
            write.rows.put(schema.agents, convert.agent_row(entity, 0))
            await self._store.writer.commit(write)
        return agent_service_pb2.CreateAgentResponse(agent=convert.agent(entity))

    async def EnrolAgent(  # noqa: N802
        self, request: agent_service_pb2.EnrolAgentRequest, context: Any
    ) -> agent_service_pb2.EnrolAgentResponse:
        """Raises: AgentNotFound, AgentEnded, InvalidArgument, SensorUnreachable, CommandTimeout, what the sensor
        says.
        """
        agent = await find.agent(self._store, request.agent)
        if agent.state not in LIVING:
            raise AgentEnded(f"agent {agent.name} has ended")
        if agent.host and request.host and agent.host != request.host:
            raise InvalidArgument(f"agent {agent.name} runs on host {agent.host}, not {request.host}")
        target = request.WhichOneof("target")
        if target is None or (target == "process" and not request.process.pid):
            raise InvalidArgument("nothing to enrol", "give a process or a cgroup path")
        host = self._sensors.pick(request.host or agent.host)
        enrol = event_pb2.Enrol(
            name=agent.name, labels=agent.labels, on_alert=agent.on_alert, enrolled_by=caller.get().identity
        )
        command = sensor_service_pb2.EnrolCommand(agent_id=agent.id, enrol=enrol)
        if target == "process":
            command.process.CopyFrom(request.process)
        else:
            command.cgroup_path = request.cgroup_path
        await self._command(host, sensor_service_pb2.Command(enrol=command))
        stored = await self._until(agent.id, lambda now: now.state != agent_pb2.AGENT_STATE_PENDING)
        return agent_service_pb2.EnrolAgentResponse(agent=mask.agent(stored))

    async def GetAgent(  # noqa: N802
        self, request: agent_service_pb2.GetAgentRequest, context: Any
    ) -> agent_service_pb2.GetAgentResponse:
        """Raises: AgentNotFound."""
        agent = await find.agent(self._store, request.agent)
        return agent_service_pb2.GetAgentResponse(agent=mask.agent(agent))

    async def ListAgents(  # noqa: N802
        self, request: agent_service_pb2.ListAgentsRequest, context: Any
    ) -> agent_service_pb2.ListAgentsResponse:
        """Raises: InvalidArgument."""
        size = paging.size(request.page_size)
        found = await asyncio.to_thread(
            self._store.entities.agents,
            all_=request.all,
            labels=dict(request.labels),
            after=paging.parse(request.page_token),
            limit=size + 1,
        )
        token = ""
        if len(found) > size:
            found = found[:size]
            token = paging.token(convert.nanoseconds(found[-1].started_at), found[-1].id)
        return agent_service_pb2.ListAgentsResponse(agents=map(mask.agent, found), next_page_token=token)

    async def FinishAgent(  # noqa: N802
        self, request: agent_service_pb2.FinishAgentRequest, context: Any
    ) -> agent_service_pb2.FinishAgentResponse:
        """Raises: AgentNotFound, AgentEnded, SensorUnreachable, CommandTimeout, what the sensor says."""
        agent = await find.agent(self._store, request.agent)
        if agent.state not in LIVING:
            raise AgentEnded(f"agent {agent.name} has ended")
        if agent.state == agent_pb2.AGENT_STATE_PENDING:
            agent.state = agent_pb2.AGENT_STATE_FINISHED
            agent.ended_at.CopyFrom(convert.stamp(time.time_ns()))
            write = Write()
            write.rows.put(schema.agents, convert.agent_message_row(agent, 0))
            await self._store.writer.commit(write)
            return agent_service_pb2.FinishAgentResponse(agent=mask.agent(agent))
        finish = sensor_service_pb2.FinishCommand(agent_id=agent.id, detach=request.detach)
        await self._command(agent.host, sensor_service_pb2.Command(finish=finish))
        stored = await self._until(agent.id, lambda now: now.state not in LIVING)
        return agent_service_pb2.FinishAgentResponse(agent=mask.agent(stored))

    async def GetAgentTree(  # noqa: N802
        self, request: agent_service_pb2.GetAgentTreeRequest, context: Any
    ) -> agent_service_pb2.GetAgentTreeResponse:
        """Raises: AgentNotFound; Refused for secrets (in guard.py)."""
        agent = await find.agent(self._store, request.agent)
        processes = await asyncio.to_thread(self._store.entities.processes, agent.id, all_=request.all)
        if not request.show_secrets:
            mask.agent(agent)
            for process in processes:
                mask.process(process)
        return agent_service_pb2.GetAgentTreeResponse(agent=agent, processes=processes)

    async def _command(self, host: str, command: sensor_service_pb2.Command) -> None:
        result = await self._sensors.command(host, command, self._timeout)
        if result.error_reason:
            raise from_sensor(result.error_reason, result.error)

    async def _until(self, agent_id: str, true: Callable[[agent_pb2.Agent], bool]) -> agent_pb2.Agent:
        """Wait for what the sensor did to come up as an event and be stored."""
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    moved = self._hub.moved()
                    agent = await find.agent(self._store, agent_id)
                    if true(agent):
                        return agent
                    await moved.wait()
        except TimeoutError:
            raise CommandTimeout(f"the sensor did it, but its event for agent {agent_id} has not come up yet") from None
