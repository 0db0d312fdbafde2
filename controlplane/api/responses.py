"""ResponseService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from controlplane.api import find, mask, paging
from controlplane.api.ending import Ending
from controlplane.api.hub import Hub
from controlplane.audit.audit import caller
from controlplane.errors import InvalidArgument, NotFound
from controlplane.model import ProcessKey, is_followed
from controlplane.respond import Asked, Responder
from controlplane.store import convert
from controlplane.store.store import Store
from rubicon.v1 import response_pb2, response_service_pb2, response_service_pb2_grpc, ttl

Watched = response_service_pb2.WatchResponsesResponse
EXISTING = 10_000
"""Existing responses that a watch begins with at most: the newest."""


def _ttl(request: Any) -> int:
    """Nanoseconds, 0 for never.

    Raises:
        InvalidArgument: as rubicon.v1.ttl says.
    """
    if not request.HasField("ttl"):
        return 0
    try:
        return ttl.checked(int(request.ttl.ToNanoseconds()))
    except ValueError as error:
        raise InvalidArgument(str(error)) from None


class ResponseServicer(response_service_pb2_grpc.ResponseServiceServicer):
    """Kill, freeze, isolate and release, and look at what was done."""

    def __init__(self, store: Store, responder: Responder, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._responder = responder

    async def Kill(  # noqa: N802
        self, request: response_service_pb2.KillRequest, context: Any
    ) -> response_service_pb2.KillResponse:
        """Returns when it is verified or has failed; a caller that hangs up does not stop it.

        Raises: AgentNotFound, ProcessNotFound, InvalidArgument, TargetProtected, SensorUnreachable, CommandTimeout,
            StoreUnavailable.
        """
        done = await self._respond(response_pb2.ACTION_KILL, request, dry_run=request.dry_run, force=request.force)
        return response_service_pb2.KillResponse(response=done)

    async def Freeze(  # noqa: N802
        self, request: response_service_pb2.FreezeRequest, context: Any
    ) -> response_service_pb2.FreezeResponse:
        """Returns when no process of the target runs. Raises: as Kill, AgentEnded."""
        done = await self._respond(
            response_pb2.ACTION_FREEZE, request, dry_run=request.dry_run, force=request.force, ttl_ns=_ttl(request)
        )
        return response_service_pb2.FreezeResponse(response=done)

    async def Isolate(  # noqa: N802
        self, request: response_service_pb2.IsolateRequest, context: Any
    ) -> response_service_pb2.IsolateResponse:
        """Returns when the network is refused, dropped and cut. Raises: as Freeze."""
        done = await self._respond(
            response_pb2.ACTION_ISOLATE,
            request,
            dry_run=request.dry_run,
            force=request.force,
            ttl_ns=_ttl(request),
            isolation=request.isolation,
        )
        return response_service_pb2.IsolateResponse(response=done)

    async def Release(  # noqa: N802
        self, request: response_service_pb2.ReleaseRequest, context: Any
    ) -> response_service_pb2.ReleaseResponse:
        """Undoes freeze and isolate. Raises: as Freeze."""
        done = await self._respond(response_pb2.ACTION_RELEASE, request, dry_run=request.dry_run)
        return response_service_pb2.ReleaseResponse(response=done)

    async def _respond(self, action: int, request: Any, **how: Any) -> response_pb2.Response:
        """Ask the responder in the caller's name; a caller that hangs up does not stop it."""
        claims = caller.get()
        host = request.target.process.host
        if request.target.WhichOneof("kind") == "agent":
            host = (await find.agent(self._store, request.target.agent)).host
        here = host in ("", claims.host)
        asked = Asked(
            by=claims.identity,
            reason=request.reason,
            caller=ProcessKey(claims.pid, claims.start_time) if here else None,
            **how,
        )
        return await asyncio.shield(self._responder.respond(action, request.target, asked))

    async def GetResponse(  # noqa: N802
        self, request: response_service_pb2.GetResponseRequest, context: Any
    ) -> response_service_pb2.GetResponseResponse:
        """Raises: NotFound."""
        return response_service_pb2.GetResponseResponse(response=await self._get(request.id))

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
        now = [self._responder.ledger.now(response) for response in found]
        return response_service_pb2.ListResponsesResponse(responses=now, next_page_token=token)

    async def WatchResponses(  # noqa: N802
        self, request: response_service_pb2.WatchResponsesRequest, context: Any
    ) -> AsyncIterator[response_service_pb2.WatchResponsesResponse]:
        """First an empty message, which says that the watch stands; then responses, whenever one has changed. A watch of one
        response ends with its last state, one of an agent with the agent itself once it has ended.

        Raises: NotFound, AgentNotFound; InvalidArgument where both are named; TooSlow when the watcher does not keep up.
        """
        if request.id and request.agent:
            raise InvalidArgument("watch one response or those of one agent, not both")
        if request.id:
            agent_id = (await self._get(request.id)).agent_id
        else:
            agent_id = (await find.agent(self._store, request.agent)).id if request.agent else ""
        ending = Ending(self._store, agent_id, linger=0.0)
        with self._hub.watch_responses(agent_id) as watch:
            existing = [await self._get(request.id)] if request.id else []
            if request.include_existing and not request.id:
                stored = await asyncio.to_thread(self._store.entities.responses, agent_id=agent_id, limit=EXISTING)
                existing = [self._responder.ledger.now(response) for response in stored]
            # What came until now may be in what was read, or before it.
            behind, read = watch.waiting, {response.id: response for response in existing}
            yield Watched()
            for response in reversed(existing):
                last = bool(request.id) and not _goes_on(response)
                yield Watched(response=response, last=last)
                if last:
                    return
            if agent_id:
                watch.touch()
            async for news in watch:
                if news is None:
                    agent = await ending.behind(watch)
                    if agent is not None and request.id:
                        yield Watched(response=await self._get(request.id), last=True)
                        return
                    if agent is not None:
                        yield Watched(ended=mask.agent(agent))
                        return
                    continue
                before = read.get(news.id) if behind else None
                behind = max(0, behind - 1)
                if not behind:
                    read.clear()
                if (request.id and news.id != request.id) or (agent_id and news.agent_id != agent_id):
                    continue
                if before is not None and (news == before or _stage(news) < _stage(before)):
                    continue
                last = bool(request.id) and not _goes_on(news)
                yield Watched(response=news, last=last)
                if last:
                    return

    async def _get(self, response_id: str) -> response_pb2.Response:
        found = await asyncio.to_thread(self._store.entities.response, response_id)
        if found is None:
            raise NotFound(f"there is no response {response_id!r}")
        return self._responder.ledger.now(found)


def _stage(response: response_pb2.Response) -> int:
    """How far it is: failed is as far as verified, which may follow it."""
    return min(response.state, response_pb2.RESPONSE_STATE_VERIFIED)


def _goes_on(response: response_pb2.Response) -> bool:
    """Something may become of it yet."""
    return _stage(response) < response_pb2.RESPONSE_STATE_VERIFIED or is_followed(response)
