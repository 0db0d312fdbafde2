"""The client for asyncio: the same calls as sync.py. One event loop may use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import grpc

from rubicon.client import requests
from rubicon.client.aio_agents import AsyncAgent, AsyncAgents
from rubicon.client.aio_alerts import AsyncAlerts
from rubicon.client.aio_audit import AsyncAudit
from rubicon.client.channel import HEALTH, OPTIONS, serving
from rubicon.client.errors import RubiconError, RubiconUnreachable, TokenExpired, Unauthenticated
from rubicon.client.records.coverage import Coverage
from rubicon.client.records.event import Event
from rubicon.client.records.response import Response
from rubicon.client.records.rule import Rule
from rubicon.client.responding import OneProcess
from rubicon.client.resume import EventStream, Patience, ResponseWatch, Resumable
from rubicon.client.status import error_of
from rubicon.client.token import TokenSource
from rubicon.v1.instance import Instance

T = TypeVar("T")


class AsyncClient:
    """As `Client`, with coroutines and asynchronous iterators; make it inside the loop that uses it.

    >>> async with AsyncClient() as client:
    ...     async for agent in client.agents.list():
    ...         print(agent.name, agent.process_count)
    """

    def __init__(self, instance: Instance | None = None) -> None:
        """Connects when it is first used.

        Raises:
            ValueError: RUBICON_INSTANCE has a name that cannot be.
        """
        self.instance = instance or Instance.current()
        self.agents = AsyncAgents(self)
        self.alerts = AsyncAlerts(self)
        self.audit = AsyncAudit(self)
        self._tokens = TokenSource(self.instance)
        self._channel = grpc.aio.insecure_channel(f"unix:{self.instance.plane_socket}", options=OPTIONS)
        self._closed = False

    def events(
        self,
        agent: str = "",
        *,
        kinds: tuple[str, ...] = (),
        pid: int = 0,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str = "",
        follow: bool = False,
        show_secrets: bool = False,
    ) -> AsyncIterator[Event]:
        """As `Client.events`."""
        return self.resuming(EventStream(agent, kinds, pid, since, until, cursor, follow, show_secrets))

    def process(
        self, pid: int, *, start_time: int = 0, host: str = "", boot_id: str = ""
    ) -> OneProcess[Awaitable[Response]]:
        """As `Client.process`."""
        return OneProcess(self, pid, start_time, host, boot_id)

    def responses(self, agent: str = "") -> AsyncIterator[Response]:
        """What was done, newest first."""
        return self.pages(requests.list_responses(agent))

    def watch_responses(
        self, agent: str = "", *, response_id: str = "", existing: bool = False
    ) -> AsyncIterator[Response]:
        """As `Client.watch_responses`."""
        return self.resuming(ResponseWatch(agent, response_id, existing))

    async def rules(self) -> list[Rule]:
        """The rules of the settings file that are in force, in their order."""
        return await self.call(requests.list_rules())

    async def reload_rules(self) -> list[Rule]:
        """As `Client.reload_rules`."""
        return await self.call(requests.reload_rules())

    async def coverage(self, host: str = "") -> list[Coverage]:
        """What the hosts see, by host."""
        return await self.call(requests.list_coverage(host))

    async def probe(self, host: str = "") -> float:
        """Send a synthetic event through the whole pipeline; returns the seconds it took."""
        return await self.call(requests.probe_pipeline(host))

    async def healthy(self) -> bool:
        """The plane serves, by the standard gRPC health check, which needs no token."""
        try:
            check = self._channel.unary_unary(HEALTH, request_serializer=bytes, response_deserializer=bytes)
            return serving(await check(b"", timeout=5))
        except grpc.RpcError:
            return False

    async def close(self) -> None:
        """End the connection; streams that are being read end."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, call: requests.Call[T]) -> T:
        """Make one call of `rubicon.client.requests`."""
        return call.read(await self._answer(call))

    async def pages(self, call: requests.Call[list[T]]) -> AsyncIterator[T]:
        """All entities of a listing, page by page as they are read."""
        assert call.next_page
        while True:
            answer = await self._answer(call)
            for entity in call.read(answer):
                yield entity
            token = call.next_page(answer)
            if not token:
                return
            call = call.page(token)

    async def resuming(self, stream: Resumable[T], give_up_s: float = 60.0) -> AsyncIterator[T]:
        """As `Client.resuming`."""
        patience = Patience(give_up_s)
        while True:
            call = stream.call()
            try:
                async for answer in self._stream(call):
                    patience.stands()
                    for item in stream.take(call.read(answer)):
                        yield item
                if not stream.endless or self._closed:
                    return
                raise RubiconUnreachable("the plane ended the stream")
            except RubiconError as error:
                if not stream.endless:
                    raise
                pause = patience.pause(error)
                if self._closed:
                    return
                await asyncio.sleep(pause)

    def agent(self, facts: dict[str, Any]) -> AsyncAgent:
        """An agent with what can be done with it."""
        return AsyncAgent(client=self, **facts)

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._tokens.fresh() or await asyncio.to_thread(self._tokens.token)
        return (("authorization", f"Bearer {token}"),)

    async def _answer(self, call: requests.Call[Any]) -> Any:
        method = self._channel.unary_unary(
            call.path, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        for last in (False, True):
            try:
                return await method(call.request, metadata=await self._metadata(), timeout=call.timeout)
            except grpc.RpcError as error:
                found = error_of(error)
            except grpc.aio.UsageError as error:
                found = RubiconUnreachable(f"the client is closed: {error}")
            if last or not isinstance(found, TokenExpired | Unauthenticated):
                raise found
            self._tokens.forget()  # the plane's key is new, or the clock was set
        raise AssertionError("the second try returns or raises")

    async def _stream(self, call: requests.Call[Any]) -> AsyncIterator[Any]:
        method = self._channel.unary_stream(
            call.path, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        answers = method(call.request, metadata=await self._metadata(), timeout=call.timeout)
        try:
            async for answer in answers:
                yield answer
        except asyncio.CancelledError:
            # grpc.aio raises it in whoever reads when the channel is closed, though nobody cancelled the task
            task = asyncio.current_task()
            if not self._closed or (task and task.cancelling()):
                raise
        except grpc.RpcError as error:
            if self._closed:
                return
            found = error_of(error)
            if isinstance(found, Unauthenticated):
                self._tokens.forget()
            raise found from None
        finally:
            answers.cancel()


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
