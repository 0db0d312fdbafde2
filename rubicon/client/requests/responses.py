"""Kill, freeze, isolate and release, and what was done so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from rubicon.client.errors import InvalidArgument
from rubicon.client.records.ended import Ended
from rubicon.client.records.response import Response
from rubicon.client.requests.call import PAGE, Call, M, message, token
from rubicon.v1 import process_pb2, response_pb2, response_service_pb2
from rubicon.v1.ttl import of_seconds


def agent_target(agent: str) -> response_pb2.Target:
    """A whole agent, by id or name."""
    return message(response_pb2.Target, agent=agent)


def process_target(pid: int, start_time: int, host: str, boot_id: str) -> response_pb2.Target:
    """A process with its descendants; start time 0 for the living process of that pid."""
    process = message(process_pb2.ProcessId, host=host, boot_id=boot_id, pid=pid, start_time_ns=start_time)
    return message(response_pb2.Target, process=process)


def kill(target: response_pb2.Target, reason: str, force: bool, dry_run: bool = False) -> Call[Response]:
    """Kill a target; the answer comes when it is verified or has failed."""
    return _respond(
        "Kill", response_service_pb2.KillRequest, target=target, reason=reason, force=force, dry_run=dry_run
    )


def freeze(
    target: response_pb2.Target, reason: str, force: bool, ttl: float | None = None, dry_run: bool = False
) -> Call[Response]:
    """Freeze a target until it is released or `ttl` seconds are over (rubicon.v1.ttl says how many may be)."""
    return _respond(
        "Freeze",
        response_service_pb2.FreezeRequest,
        target=target,
        reason=reason,
        force=force,
        ttl=_duration(ttl),
        dry_run=dry_run,
    )


def isolate(
    target: response_pb2.Target,
    reason: str,
    force: bool,
    ttl: float | None = None,
    dry_run: bool = False,
    *,
    allow: Iterable[str] = (),
    allow_loopback: bool = False,
    unix: bool = False,
    strict: bool = False,
) -> Call[Response]:
    """Take the network from an agent until it is released or `ttl` seconds are over."""
    isolation = message(
        response_pb2.Isolation, allow=list(allow), allow_loopback=allow_loopback, unix=unix, strict=strict
    )
    return _respond(
        "Isolate",
        response_service_pb2.IsolateRequest,
        target=target,
        reason=reason,
        force=force,
        ttl=_duration(ttl),
        isolation=isolation,
        dry_run=dry_run,
    )


def release(target: response_pb2.Target, reason: str, dry_run: bool = False) -> Call[Response]:
    """Undo freeze and isolate."""
    return _respond("Release", response_service_pb2.ReleaseRequest, target=target, reason=reason, dry_run=dry_run)


def _respond(method: str, kind: Callable[..., M], **fields: Any) -> Call[Response]:
    request = message(kind, **fields)
    return Call("ResponseService", method, request, lambda answer: Response.of(answer.response), timeout=60)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    try:
        duration.FromNanoseconds(of_seconds(seconds))
    except ValueError as error:
        raise InvalidArgument(str(error)) from None
    return duration


def watch_responses(agent: str, response_id: str, existing: bool) -> Call[tuple[Response, bool] | Ended | None]:
    """Responses as they change, and whether more may become of the one that is watched.

    The first answer is None and says that the watch stands, Ended that the agent is over.
    """
    request = message(
        response_service_pb2.WatchResponsesRequest, agent=agent, id=response_id, include_existing=existing
    )

    def read(answer: response_service_pb2.WatchResponsesResponse) -> tuple[Response, bool] | Ended | None:
        if answer.HasField("ended"):
            return Ended(answer.ended)
        return (Response.of(answer.response), answer.last) if answer.HasField("response") else None

    return Call("ResponseService", "WatchResponses", request, read, timeout=None)


def list_responses(agent: str) -> Call[list[Response]]:
    """A page of responses, newest first."""
    request = message(response_service_pb2.ListResponsesRequest, agent=agent, page_size=PAGE)
    return Call(
        "ResponseService",
        "ListResponses",
        request,
        lambda answer: [*map(Response.of, answer.responses)],
        next_page=token,
    )
