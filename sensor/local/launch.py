"""launch: enrol a child of the caller that waits to be released, before it executes anything."""

from __future__ import annotations

import os

from sensor.act.enrol import Facts
from sensor.errors import InvalidArgument, PermissionRefused, ProcessNotFound
from sensor.local.context import Context, Reply, Request, number, pid_of, text
from sensor.local.peer import Peer


async def launch(context: Context, peer: Peer, request: Request) -> Reply:
    """{pid, start_time?, name?, labels?, on_alert?, command?, uid?} → {agent_id, name, cgroup_path, start_time}."""
    pid = pid_of(request)
    command = request.get("command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise InvalidArgument("command: give a list of text")
    facts = Facts(
        name=text(request, "name", ""),
        labels=request.get("labels") or {},
        on_alert=text(request, "on_alert", "monitor"),
        command=command,
        enrolled_by=f"{peer.identity} @{context.settings.host.name}",
    )
    start_time = number(request.get("start_time"), "start_time", 0)

    def enrol() -> Reply:
        _refuse_others(peer, pid)
        agent = context.enroller.launch(pid, facts, start_time)
        return {
            "agent_id": agent.id,
            "name": agent.name,
            "cgroup_path": agent.cgroup_path,
            "start_time": agent.root_start_time,
        }

    return await context.thread(enrol)


def _refuse_others(peer: Peer, pid: int) -> None:
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessNotFound(f"process {pid} does not exist") from None
    if peer.uid not in (0, owner):
        raise PermissionRefused(
            f"process {pid} belongs to uid {owner}: only its owner and root may launch it as an agent"
        )
    if not peer.is_above(pid):
        raise PermissionRefused(f"process {pid} is no child of the caller: fork it, launch it, then let it execute")
