"""The one interceptor: who calls, may they, is it audited, and errors as google.rpc.Status.

Tokens are only handed to root and to members of the group rubicon, so whoever has one may read and act. On top of that:
a process that belongs to an agent may change nothing, and only root sees secrets. Token problems, refusals and
defects all leave here as a status with an ErrorInfo (domain "rubicon", reason as in error.proto, metadata "hint":
what to do next).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from controlplane import logs
from controlplane.api import acts
from controlplane.api.witness import Witness
from controlplane.audit.audit import caller
from controlplane.errors import (
    CallerIsAgent,
    Internal,
    InvalidArgument,
    NotAuthenticated,
    PlaneError,
    Refused,
    TokenHasExpired,
)
from rubicon.v1 import tokens

DOMAIN = "rubicon"
MUTATING = frozenset(acts.ACTIONS)
_OPEN = "/grpc.health.v1.Health/"
_SENSOR = "/rubicon.v1.SensorService/"
_log = logs.get("api")

OwnerOf = Callable[[tokens.Claims], Awaitable[str]]
"""Agent id that a process belongs to, or empty."""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps every method but the health service's."""

    def __init__(self, key: bytes, owner_of: OwnerOf, witness: Witness) -> None:
        self._key = key
        self._owner_of = owner_of
        self.witness = witness

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """grpc.aio's hook: the handler, wrapped."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_OPEN):
            return handler
        wrapped = _Call(self, details.method, handler)
        deserialize = _lenient(handler.request_deserializer)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                wrapped.stream_stream, deserialize, handler.response_serializer
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(wrapped.unary_stream, deserialize, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(wrapped.unary_unary, deserialize, handler.response_serializer)

    def identify(self, method: str, context: Any) -> tokens.Claims:
        """Who calls; also puts it into the context variable `caller`.

        Raises:
            NotAuthenticated, TokenHasExpired: as they say.
        """
        try:
            return self._identify(method, context)
        except NotAuthenticated as error:
            if (name := method.rpartition("/")[2]) in MUTATING:
                self.witness.stranger(name, error)
            raise

    def _identify(self, method: str, context: Any) -> tokens.Claims:
        metadata = dict(context.invocation_metadata() or ())
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("the call carries no token")
        try:
            claims = tokens.verify(self._key, token, "sensor" if method.startswith(_SENSOR) else "api")
        except tokens.TokenExpired as error:
            raise TokenHasExpired(str(error)) from None
        except tokens.TokenError as error:
            raise NotAuthenticated(str(error)) from None
        caller.set(claims)
        return claims

    async def allow(self, method: str, claims: tokens.Claims, request: Message) -> None:
        """May this caller make this call?

        Raises:
            CallerIsAgent: it changes something, and the caller is watched itself.
            Refused: secrets asked for by another than root.
        """
        if getattr(request, "show_secrets", False):
            hint = "repeat without show_secrets, or as root"
            refusal = Refused("only root may see secrets", hint) if claims.uid != 0 else None
            self.witness.secrets(method, claims.identity, request, refusal)
            if refusal is not None:
                raise refusal
        if method in MUTATING:
            agent = await self._owner_of(claims)
            if agent:
                raise CallerIsAgent(f"{claims.identity} belongs to agent {agent}")


class _Malformed:
    """Stands for a message that is none, until there is a place that can refuse it properly."""

    def __init__(self, why: str) -> None:
        self.error = InvalidArgument(f"malformed message: {why}", "send what proto/rubicon/v1 describes")


def _lenient(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message | _Malformed]:
    """grpc would answer a message that does not parse with UNKNOWN and a traceback in the log."""

    def parse(data: bytes) -> Message | _Malformed:
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Malformed(str(error))

    return parse


def _sound(request: Message | _Malformed) -> Message:
    if isinstance(request, _Malformed):
        raise request.error
    return request


async def _all_sound(requests: AsyncIterator[Message | _Malformed]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _sound(request)


class _Call:
    """One method, wrapped."""

    def __init__(self, guard: Guard, path: str, handler: Any) -> None:
        self._guard = guard
        self._path = path
        self._method = path.rpartition("/")[2]
        self._handler = handler

    async def unary_unary(self, raw: Message | _Malformed, context: Any) -> Any:
        try:
            claims = self._guard.identify(self._path, context)
            request = _sound(raw)

            async def allowed() -> None:
                await self._guard.allow(self._method, claims, request)

            async def carry_out() -> Any:
                return await self._handler.unary_unary(request, context)

            if self._method in MUTATING:
                return await self._guard.witness.call(self._method, claims.identity, request, allowed, carry_out)
            await allowed()
            return await carry_out()
        except Exception as error:  # noqa: BLE001 - the one place where errors become statuses
            await self._abort(context, error)

    async def unary_stream(self, raw: Message | _Malformed, context: Any) -> AsyncIterator[Any]:
        try:
            claims = self._guard.identify(self._path, context)
            request = _sound(raw)
            await self._guard.allow(self._method, claims, request)
            async for response in self._handler.unary_stream(request, context):
                yield response
        except Exception as error:  # noqa: BLE001
            await self._abort(context, error)

    async def stream_stream(self, requests: Any, context: Any) -> None:
        try:
            self._guard.identify(self._path, context)
            await self._handler.stream_stream(_all_sound(requests), context)
        except Exception as error:  # noqa: BLE001
            await self._abort(context, error)

    async def _abort(self, context: Any, error: Exception) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, PlaneError):
            _log.error("defect", method=self._method, exc_info=error)
            error = Internal(f"{type(error).__name__} in {self._method}")
        await context.abort_with_status(rpc_status.to_status(status(error)))
        raise AssertionError("abort returns never")


def status(error: PlaneError) -> status_pb2.Status:
    """An error as google.rpc.Status with ErrorInfo."""
    detail = any_pb2.Any()
    detail.Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"hint": error.hint, **error.metadata})
    )
    return status_pb2.Status(
        code=code_pb2.Code.Value(error.code.name),
        message=error.message[:2000],
        details=[detail],
    )
