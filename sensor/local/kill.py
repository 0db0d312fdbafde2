"""kill: end an agent or one of its processes, also while the plane is dead."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from rubicon.v1 import response_pb2
from sensor.act.kill import Order
from sensor.act.processes import Key
from sensor.act.registry import Living
from sensor.errors import InvalidArgument, ProcessNotFound
from sensor.local.context import Context, Reply, Request, flag, number, pid_of, text
from sensor.local.peer import Peer


async def kill(context: Context, peer: Peer, request: Request) -> Reply:
    """{target: agent id or name | {pid, start_time?}, reason?, force?, dry_run?} → {response: Response as JSON}."""
    target = request.get("target")
    order = Order(
        reason=text(request, "reason", ""),
        requested_by=f"{peer.identity} @{context.settings.host.name}",
        force=flag(request, "force"),
        caller=peer.key,
        dry_run=flag(request, "dry_run"),
    )

    def do() -> response_pb2.Response:
        process = None
        if isinstance(target, str):
            agent = context.enroller.registry.find(target)
            done = context.killer.kill_agent(agent, order)
        elif isinstance(target, dict):
            agent, process = owned(context, target)
            done = context.killer.kill_process(agent, process, order)
        else:
            raise InvalidArgument('target: give an agent\'s id or name, or {"pid": …, "start_time": …}')
        if not order.dry_run:
            context.containment.killed(agent, order, process)
        return done

    response = await context.thread(do)
    return {"response": MessageToDict(response, preserving_proto_field_name=True)}


def owned(context: Context, target: Request) -> tuple[Living, Key]:
    """The agent that a process {pid, start_time?} belongs to, and the process.

    Raises:
        ProcessNotFound: it is no agent's.
    """
    pid = pid_of(target)
    start_time = number(target.get("start_time"), "start_time", 0)
    tag = context.enroller.kernel.tags.get(pid)
    agent = context.enroller.registry.by_number(tag.agent) if tag else None
    if not tag or not agent or (start_time and tag.start_time != start_time):
        raise ProcessNotFound(f"process {pid} is no agent's process: only agents' processes are killed")
    return agent, (pid, int(tag.start_time))
