"""ResponseService."""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.api import find, paging
from controlplane.audit.audit import caller
from controlplane.errors import NotFound
from controlplane.model import ProcessKey
from controlplane.respond import Asked, Responder
from controlplane.store import convert
from controlplane.store.store import Store
from rubicon.v1 import response_pb2, response_service_pb2, response_service_pb2_grpc


class ResponseServicer(response_service_pb2_grpc.ResponseServiceServicer):
    """Kill, and look at what was done."""

    def __init__(self, store: Store, responder: Responder) -> None:
        self._store = store
        self._responder = responder

    async def Kill(  # noqa: N802
        self, request: response_service_pb2.KillRequest, context: Any
    ) -> response_service_pb2.KillResponse:
        """Returns when it is verified or has failed; a caller that hangs up does not stop it.

        Raises: AgentNotFound, ProcessNotFound, InvalidArgument, TargetProtected, SensorUnreachable, CommandTimeout,
            StoreUnavailable.
        """
        claims = caller.get()
        host = request.target.process.host
        if request.target.WhichOneof("kind") == "agent":
            host = (await find.agent(self._store, request.target.agent)).host
        here = host in ("", claims.host)
        asked = Asked(
            by=claims.identity,
            reason=request.reason,
            force=request.force,
            caller=ProcessKey(claims.pid, claims.start_time) if here else None,
        )
        done = await self._responder.kill(request.target, asked)
        return response_service_pb2.KillResponse(response=done)

    async def GetResponse(  # noqa: N802
        self, request: response_service_pb2.GetResponseRequest, context: Any
    ) -> response_service_pb2.GetResponseResponse:
        """Raises: NotFound."""
        found = await asyncio.to_thread(self._store.entities.response, request.id)
        if found is None:
            raise NotFound(f"there is no response {request.id!r}")
        return response_service_pb2.GetResponseResponse(response=found)

    async def ListResponses(  # noqa: N802
        self, request: response_service_pb2.ListResponsesRequest, context: Any
    ) -> response_service_pb2.ListResponsesResponse:
        """Raises: AgentNotFound, InvalidArgument."""
        size = paging.size(request.page_size)
        agent_id = (await find.agent(self._store, request.agent)).id if request.agent else ""
        after = paging.parse(request.page_token)
        found: list[response_pb2.Response] = await asyncio.to_thread(
            lambda: self._store.entities.responses(agent_id=agent_id, after=after, limit=size + 1)
        )
        token = ""
        if len(found) > size:
            found = found[:size]
            token = paging.token(convert.nanoseconds(found[-1].requested_at), found[-1].id)
        return response_service_pb2.ListResponsesResponse(responses=found, next_page_token=token)
