"""The client for ordinary code. Any thread may use it; a forked child needs one of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import grpc

from rubicon.client import requests
from rubicon.client.agents import Agent, Agents
from rubicon.client.alerts import Alerts
from rubicon.client.audit import Audit
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


class Client:
    """Talks to the plane of one instance on this host.

    >>> with Client() as client:
    ...     for agent in client.agents.list():
    ...         print(agent.name, agent.process_count)

    Every method raises `RubiconError` (errors.py): RubiconUnreachable when nobody answers, Refused when it may not be
    done, NotFound, InvalidArgument.
    """

    def __init__(self, instance: Instance | None = None) -> None:
        """Connects when it is first used.

        Args:
            instance: the one that RUBICON_INSTANCE names unless given.

        Raises:
            ValueError: RUBICON_INSTANCE has a name that cannot be.
        """
        self.instance = instance or Instance.current()
        self.agents = Agents(self)
        self.alerts = Alerts(self)
        self.audit = Audit(self)
        self._tokens = TokenSource(self.instance)
        self._channel = grpc.insecure_channel(f"unix:{self.instance.plane_socket}", options=OPTIONS)
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
    ) -> Iterator[Event]:
        """Events in the order in which they were stored, of one agent or of all.

        Args:
            kinds: "exec", "connect", … (event.proto); empty for all.
            cursor: resume after this event's cursor.
            follow: go on with live events; survives a restart of the plane.
            show_secrets: do not mask secrets in arguments (root only).
        """
        return self.resuming(EventStream(agent, kinds, pid, since, until, cursor, follow, show_secrets))

    def process(self, pid: int, *, start_time: int = 0, host: str = "", boot_id: str = "") -> OneProcess[Response]:
        """A process of an agent, to kill, freeze, isolate or release with its descendants.

        Args:
            start_time: nanoseconds since boot, so that a reused pid is no danger; 0 for the living process.
            host: where it runs; may be left out where only one host has it.
        """
        return OneProcess(self, pid, start_time, host, boot_id)

    def responses(self, agent: str = "") -> Iterator[Response]:
        """What was done, newest first."""
        return self.pages(requests.list_responses(agent))

    def watch_responses(self, agent: str = "", *, response_id: str = "", existing: bool = False) -> Iterator[Response]:
        """Responses, whenever one has changed: requested, applied, then verified or failed; survives a restart of the plane.

        Args:
            agent: only those to this one; it ends with the agent.
            response_id: only this one, as it is now and then each change; it ends once nothing more becomes of it.
            existing: begin with those that exist already, oldest first.

        Raises:
            NotFound: there is no such response. AgentNotFound: there is no such agent.
            AgentKilledError: with `agent`: a response ended it.
        """
        return self.resuming(ResponseWatch(agent, response_id, existing))

    def rules(self) -> list[Rule]:
        """The rules of the settings file that are in force, in their order."""
        return self.call(requests.list_rules())

    def reload_rules(self) -> list[Rule]:
        """Have the settings file read again; returns the rules that are in force now.

        Raises:
            PermissionDenied: the caller is not root.
            InvalidArgument: something in the file cannot be; the rules of before stay in force.
        """
        return self.call(requests.reload_rules())

    def coverage(self, host: str = "") -> list[Coverage]:
        """What the hosts see, by host."""
        return self.call(requests.list_coverage(host))

    def probe(self, host: str = "") -> float:
        """Send a synthetic event through the whole pipeline; returns the seconds it took."""
        return self.call(requests.probe_pipeline(host))

    def healthy(self) -> bool:
        """The plane serves, by the standard gRPC health check, which needs no token."""
        try:
            check = self._channel.unary_unary(HEALTH, request_serializer=bytes, response_deserializer=bytes)
            return serving(check(b"", timeout=5))
        except grpc.RpcError:
            return False

    def close(self) -> None:
        """End the connection; streams that are being read end."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, call: requests.Call[T]) -> T:
        """Make one call of `rubicon.client.requests`."""
        return call.read(self._answer(call))

    def pages(self, call: requests.Call[list[T]]) -> Iterator[T]:
        """All entities of a listing, page by page as they are read."""
        assert call.next_page
        while True:
            answer = self._answer(call)
            yield from call.read(answer)
            token = call.next_page(answer)
            if not token:
                return
            call = call.page(token)

    def resuming(self, stream: Resumable[T], give_up_s: float = 60.0) -> Iterator[T]:
        """What a stream brings; an endless one is asked again when the connection breaks.

        Args:
            give_up_s: seconds without an answer after which the error is raised.
        """
        patience = Patience(give_up_s)
        while True:
            call = stream.call()
            try:
                for answer in self._stream(call):
                    patience.stands()
                    yield from stream.take(call.read(answer))
                if not stream.endless or self._closed:
                    return
                raise RubiconUnreachable("the plane ended the stream")
            except RubiconError as error:
                if not stream.endless:
                    raise
                pause = patience.pause(error)
                if self._closed:
                    return
                time.sleep(pause)

    def agent(self, facts: dict[str, Any]) -> Agent:
        """An agent with what can be done with it."""
        return Agent(client=self, **facts)

    def _answer(self, call: requests.Call[Any]) -> Any:
        method = self._channel.unary_unary(
            call.path, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        try:
            return self._once(method, call)
        except (TokenExpired, Unauthenticated):  # the plane's key is new, or the clock was set
            self._tokens.forget()
            return self._once(method, call)

    def _once(self, method: Any, call: requests.Call[Any]) -> Any:
        metadata = (("authorization", f"Bearer {self._tokens.token()}"),)
        try:
            return method(call.request, metadata=metadata, timeout=call.timeout)
        except grpc.RpcError as error:
            raise error_of(error) from None
        except ValueError as error:  # grpc's word for a closed channel
            raise RubiconUnreachable(f"the client is closed: {error}") from None

    def _stream(self, call: requests.Call[Any]) -> Iterator[Any]:
        method = self._channel.unary_stream(
            call.path, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        answers = self._once(method, call)
        try:
            yield from answers
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
