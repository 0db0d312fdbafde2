"""What processes ask for, as evidence: by their arguments, and by their configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from controlplane.detectors._ssh import argv
from controlplane.detectors._ssh.conversation import Conversation, Conversations
from controlplane.model.finding import EvidenceItem
from controlplane.model.keys import ProcessKey, RecordKey
from controlplane.model.process import Process
from controlplane.model.view import AgentView
from rubicon.v1 import event_pb2, process_pb2

Execs: TypeAlias = Mapping[ProcessKey, tuple[int, RecordKey]]
"""Kernel time and record of the execs whose arguments ask for a forward."""
_PROXY_LEVELS = 3
_LENT_LEVELS = 2
_THROUGH = (process_pb2.DESCRIPTOR_KIND_PIPE, process_pb2.DESCRIPTOR_KIND_SOCKET)


@dataclass(frozen=True, slots=True)
class Config:
    """A process's SSH configuration, as the sensor read it."""

    item: EvidenceItem | None
    """None when no RemoteForward applies."""
    may: bool
    control_path: str


def askers(conversation: Conversation, agent: AgentView) -> Iterator[tuple[Process, str]]:
    """Processes whose arguments and configuration count for the conversation: its owner, those whose image it still
    runs, and the client that uses it as its ProxyCommand or ProxyJump (an ancestor; the proxy's 0 and 1 are pipes or
    sockets)."""
    owner = agent.process(conversation.owner)
    if owner is None:
        return
    yield owner, "asks for a remote forward"
    if not is_proxy(owner):
        return
    for process in islice(agent.ancestors(conversation.owner), _PROXY_LEVELS):
        yield process, "asks for a remote forward, with this connection as its proxy"


def is_proxy(owner: Process) -> bool:
    """Whether the owner of a connection may be somebody's ProxyCommand: it talks through pipes or sockets, and is not a
    client that some tool (rsync, git) uses for a session."""
    stdio = owner.image.stdio[:2]
    if len(stdio) < 2 or any(descriptor.kind not in _THROUGH for descriptor in stdio):
        return False
    given = words(owner.argv)
    if "ssh" not in argv.program(given):
        return True
    own = argv.openssh(given)
    return bool(own and own.stdio_forward)


def users(key: ProcessKey, conversations: Iterable[Conversation], agent: AgentView) -> Iterator[Conversation]:
    """Conversations that the process may use through a proxy."""
    for conversation in conversations:
        owner = agent.process(conversation.owner)
        if owner is not None and owner.key != key and is_proxy(owner) and key in above(owner.key, agent):
            yield conversation


def lent(key: ProcessKey, conversations: Conversations, agent: AgentView) -> Iterator[Conversation]:
    """Conversations held by a parent or grandparent that the process talks to through pipes."""
    process = agent.process(key)
    stdio = process.image.stdio[:2] if process is not None else []
    if len(stdio) == 2 and all(descriptor.kind in _THROUGH for descriptor in stdio):
        for ancestor in islice(agent.ancestors(key), _LENT_LEVELS):
            yield from conversations.held_by(ancestor.key, agent)


def above(key: ProcessKey, agent: AgentView) -> list[ProcessKey]:
    """The ancestors that may have the process as their proxy, parent first."""
    return [process.key for process in islice(agent.ancestors(key), _PROXY_LEVELS)]


def argv_item(process: Process, command: argv.Command | None, execs: Execs, text: str) -> EvidenceItem | None:
    """What arguments ask for; None when they ask for nothing. `text` says in what way they do."""
    if command is None or not command.forwards:
        return None
    keys = [key for key in (process.key, process.maker) if key is not None and key in execs]
    record = execs[keys[0]] if keys else None
    time_ns, key = record if record is not None else (process.image.time_ns, None)
    wanted = "; ".join(f"{forward.listen} → {forward.target}" for forward in command.forwards[:8])
    written = " ".join(command.written[:8])
    return EvidenceItem(
        "argv",
        f"{argv.program(words(process.argv))} (pid {process.key.pid}) {text}: {written}",
        time_ns,
        key,
        {"forwards": wanted, "written": written, "pid": str(process.key.pid)},
    )


def config_item(event: event_pb2.Event) -> EvidenceItem | None:
    config = event.ssh_config
    if not config.remote_forwards:
        return None
    wanted = "; ".join(config.remote_forwards[:8])
    verb = "may ask (behind a condition that was not evaluated)" if config.may_match else "asks"
    text = f"the configuration {verb} for RemoteForward {wanted}, in {', '.join(config.files[:4])}"
    return EvidenceItem.of(
        event,
        "config",
        text,
        forwards=wanted,
        files=", ".join(config.files[:4]),
        may_match=str(config.may_match).lower(),
    )


def words(argv: Iterable[bytes]) -> list[str]:
    return [word.decode("utf-8", "backslashreplace") for word in argv]


def hints(argv: list[str]) -> bool:
    """Cheap: could any of these words ask for a forward?"""
    return any("R" in word or "emote" in word.lower() for word in argv[1:] if word) or "forward" in argv
