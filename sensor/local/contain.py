"""freeze, isolate and release: contain an agent, also while the plane is dead."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from rubicon.v1 import response_pb2, ttl
from sensor.act.containing import Containing
from sensor.act.processes import Key
from sensor.act.registry import Living
from sensor.errors import InvalidArgument
from sensor.local.context import Context, Reply, Request, flag, number, text
from sensor.local.kill import owned
from sensor.local.peer import Peer


async def freeze(context: Context, peer: Peer, request: Request) -> Reply:
    """{target: agent id or name | {pid, start_time?}, reason?, ttl_ns?, force?, dry_run?} → {response}."""
    order = _order(context, peer, request)
    return _reply(await context.thread(lambda: context.containment.freeze(*_whom(context, request, order))))


async def isolate(context: Context, peer: Peer, request: Request) -> Reply:
    """{target: agent id or name | {pid, start_time?}, reason?, ttl_ns?, allow?, allow_loopback?, unix?, strict?, force?,
    dry_run?} → {response}."""
    order = _order(context, peer, request)
    return _reply(await context.thread(lambda: context.containment.isolate(*_whom(context, request, order))))


async def release(context: Context, peer: Peer, request: Request) -> Reply:
    """{target: agent id or name | {pid, start_time?}, reason?, dry_run?} → {response}."""
    order = _order(context, peer, request)
    return _reply(await context.thread(lambda: context.containment.release(*_whom(context, request, order))))


def _whom(context: Context, request: Request, order: Containing) -> tuple[Living, Containing, Key | None]:
    """What all three take: an agent, or with one of its processes."""
    target = request.get("target")
    if isinstance(target, dict):
        agent, process = owned(context, target)
        return agent, order, process
    return context.enroller.registry.find(text(request, "target")), order, None


def _order(context: Context, peer: Peer, request: Request) -> Containing:
    allow = request.get("allow", [])
    if not isinstance(allow, list) or not all(isinstance(entry, str) for entry in allow):
        raise InvalidArgument("allow: give a list of text")
    ttl_ns = number(request.get("ttl_ns"), "ttl_ns", 0)
    if "ttl_ns" in request and not ttl_ns:  # further in, zero says "no end"
        raise InvalidArgument(f"ttl_ns: {ttl.RULE}")
    return Containing(
        reason=text(request, "reason", ""),
        requested_by=f"{peer.identity} @{context.settings.host.name}",
        force=flag(request, "force"),
        caller=peer.key,
        dry_run=flag(request, "dry_run"),
        ttl_ns=ttl_ns,
        isolation=response_pb2.Isolation(
            allow=allow,
            allow_loopback=flag(request, "allow_loopback"),
            unix=flag(request, "unix"),
            strict=flag(request, "strict"),
        ),
    )


def _reply(response: response_pb2.Response) -> Reply:
    return {"response": MessageToDict(response, preserving_proto_field_name=True)}
