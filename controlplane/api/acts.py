"""What the audit says of a call that changes something: whom it is about, before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from controlplane.api import find
from controlplane.audit.record import Deed
from controlplane.errors import PlaneError
from controlplane.store.store import Store
from rubicon.v1.secrets import text as masked

ACTIONS = {
    "CreateAgent": "create",
    "EnrolAgent": "enrol",
    "FinishAgent": "finish",
    "Kill": "kill",
    "Freeze": "freeze",
    "Isolate": "isolate",
    "Release": "release",
    "ProbePipeline": "probe",
    "ReloadRules": "reload",
}
"""Methods that change something, and the audit's word for each."""
RESPONSES = frozenset({"Kill", "Freeze", "Isolate", "Release"})
"""These store what they are about to do before they do it, through the same writer, after the audit's record."""
SECRETS = "show-secrets"


async def deed(store: Store, method: str, request: Any) -> Deed:
    """What a call is about to do; where no such agent is known, in the caller's words alone."""
    action = ACTIONS[method]
    if method in RESPONSES:
        return await _response(store, action, request)
    if method == "CreateAgent":
        labels = " ".join(f"{key}={value}" for key, value in sorted(request.labels.items()))
        words = [f"agent {request.name or '(any name)'}", labels and f"with {labels}", request.on_alert]
        return Deed(action, masked(", ".join(word for word in words if word)))
    if method == "ProbePipeline":
        return Deed(action, f"host {request.host}" if request.host else "the only host")
    if method == "ReloadRules":
        return Deed(action, "the settings file")
    found = await _agent(store, request.agent)
    if method == "FinishAgent":
        return Deed(action, found[1] + (", detached" if request.detach else ""), found[0])
    what = f"process {request.process.pid}" if request.HasField("process") else f"cgroup {request.cgroup_path}"
    return Deed(action, f"{what} as {found[1]}", found[0])


def done(asked: Deed, response: Any) -> Deed:
    """The same, with what is known only afterwards."""
    agent = getattr(response, "agent", None)
    return replace(asked, agent_id=agent.id) if agent is not None and not asked.agent_id else asked


def secrets(method: str, request: Message) -> Deed:
    """Somebody asks to see what is masked."""
    return Deed(SECRETS, f"{method} {getattr(request, 'agent', '') or getattr(request, 'id', '')}".strip())


async def _response(store: Store, action: str, request: Any) -> Deed:
    target, words = request.target, []
    agent_id = ""
    if target.WhichOneof("kind") == "process":
        words.append(f"process {target.process.pid}")
        if target.process.start_time_ns:
            words.append(f"started at {target.process.start_time_ns}")
        if target.process.host:
            words.append(f"on host {target.process.host}")
        words.append("with its descendants")
    else:
        agent_id, text = await _agent(store, target.agent)
        words.append(text)
    if action == "isolate":
        allowed = list(request.isolation.allow) + ["loopback"] * request.isolation.allow_loopback
        words += [f"but for {' '.join(allowed)}"] if allowed else []
        words += ["strictly"] if request.isolation.strict else []
    if action in ("freeze", "isolate") and request.HasField("ttl"):
        words.append(f"for {request.ttl.ToJsonString()}")
    words += [
        word for word, on in (("by force", getattr(request, "force", False)), ("(dry run)", request.dry_run)) if on
    ]
    return Deed(action, " ".join(words), agent_id, request.reason)


async def _agent(store: Store, text: str) -> tuple[str, str]:
    try:
        found = await find.agent(store, text)
    except PlaneError:
        return "", f"agent {text}"
    return found.id, f"agent {found.name} ({found.id})"
