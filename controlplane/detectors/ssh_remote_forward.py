"""Outbound SSH with remote forwarding: a door that an agent opens from the inside.

Proves: the agent holds an outbound SSH connection (by its banner, on any port, from any program), and for that
connection a remote forward was asked for or is used. Evidence comes in four kinds: argv (asked for on the command
line, also through a control master or around a ProxyCommand), config (a RemoteForward that applies), wire (the
banner; the sizes of the request; the agent's side serving a connection that it opened), behaviour (what comes in over
SSH makes the holder connect somewhere and relay). What severity follows from which evidence stands in
`case.Case.severity`.

Cannot see: SSH inside TLS or another encrypted carrier, unless arguments or configuration ask for the forward; clients
that pad at random together with servers that do; a connection that was already up when the agent was enrolled;
tunnels that are no forwards (standard input and output of a session, `ssh -w`); the use of a forward whose near end
is a Unix socket or an X server's port; packets on hosts without the per-packet program (coverage says so). The page
says what weakens it.

Known false alarms: a program that keeps an SSH session and connects elsewhere within a quarter of a second of each
answer, where its next message over SSH has exactly the size of a channel confirmation and leaves before anything is
sent on the new connection; a client whose first message is none of the usual ones and has a request's size.

Sources: RFC 4253, RFC 4254 7.1 and 7.2, OpenSSH ssh.c, clientloop.c, channels.c, mux.c, readconf.c.
ATT&CK: T1572 (protocol tunneling), T1090 (proxy).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from controlplane.detectors._ssh import argv, asked, control
from controlplane.detectors._ssh.asked import Config, hints, words
from controlplane.detectors._ssh.case import Case
from controlplane.detectors._ssh.conversation import Conversation, holder
from controlplane.detectors._ssh.hidden import client_above
from controlplane.detectors._ssh.memory import Memory
from controlplane.detectors._ssh.relay import Local
from controlplane.detectors._ssh.wire import reads_config
from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.flow import address_text
from controlplane.model.keys import ProcessKey, process_key, record_key
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2, flow_pb2

DETECTOR = Detector(
    id="ssh-remote-forward",
    title="SSH remote forward",
    severity=alert_pb2.SEVERITY_CRITICAL,
    techniques=("T1572", "T1090"),
    reads=(
        event_pb2.Exec,
        event_pb2.SshConfig,
        event_pb2.UnixConnect,
        event_pb2.Connect,
        event_pb2.Establish,
        event_pb2.Payload,
        event_pb2.Packet,
        event_pb2.Close,
        event_pb2.Exit,
    ),
)


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event, in kernel order as far as the host gave it."""
    kind = event.WhichOneof("kind")
    conversations, relays = memory.conversations, memory.relays
    if kind == "packet" and not conversations.by_cookie:  # most records are packets, and most agents speak no SSH
        return
    process = process_key(event.process)
    touched: list[Case] = []
    if kind == "packet":
        conversation, pattern = conversations.packet(event)
        # what follows an accepted connection is a channel for it, whatever its size (dropbear compresses)
        if pattern and conversation is not None and not relays.serving(conversation.owner, event.time_ns):
            case = memory.case(conversation)
            case.sized = True
            case.add(EvidenceItem.of(event, "wire", pattern, what="sizes"))
            touched.append(case)
        touched.extend(_relay(memory, local) for local in relays.packet(event, conversation))
    elif kind == "payload":
        changed = conversations.payload(event, agent)
        if changed is not None:
            memory.requests.forget(changed.owner)
            memory.hidden.forget(changed.cookie)
            touched.append(_look(memory, changed, agent, event))
        elif event.payload.flow.cookie not in conversations.by_cookie:
            spoke = memory.hidden.payload(event, agent)
            touched.extend(_hidden(memory, spoke, agent) if spoke is not None else ())
    elif kind == "connect" and process is not None and not event.connect.refused:
        if event.connect.flow.type in (0, 1):
            conversations.connect(event.connect.flow)
            _connects(memory, event, process, agent)
    elif kind == "establish" and process is not None:
        if event.establish.flow.direction == flow_pb2.FLOW_DIRECTION_INBOUND:
            relays.accepted(process, event.time_ns)
        else:
            conversations.connect(event.establish.flow)
            relays.established(event.establish.flow.cookie)
    elif kind == "close":
        cookie = event.close.flow.cookie
        conversations.close(cookie)
        relays.close(cookie)
        memory.hidden.forget(cookie)
        memory.cases.pop(cookie, None)
    elif kind == "exit" and process is not None:
        memory.requests.forget(process)
        touched.extend(_handed_over(memory, event, process, agent))
    elif process is not None:
        touched.extend(_asks(memory, event, process, agent))
    for case in touched:
        yield from _judge(case, agent)


def _connects(memory: Memory, event: event_pb2.Event, process: ProcessKey, agent: AgentView) -> None:
    """The connection may be the near end of a forward."""
    conversations = memory.conversations
    if not conversations.by_cookie:
        return
    for conversation in conversations.held_by(process, agent):
        memory.relays.connect(event, process, conversation)
    for conversation in asked.users(process, list(conversations.by_cookie.values()), agent):
        memory.relays.connect(event, process, conversation, through=True)
    for conversation in asked.lent(process, conversations, agent):
        memory.relays.connect(event, process, conversation, below=True)


def _asks(memory: Memory, event: event_pb2.Event, process: ProcessKey, agent: AgentView) -> Iterator[Case]:
    """Exec, SshConfig or UnixConnect: somebody may be asking for a forward, on a connection of its own or of a
    master."""
    kind = event.WhichOneof("kind")
    if kind == "exec":
        if not hints(words(event.exec.argv)):
            return
        memory.keep(memory.execs, process, (event.time_ns, record_key(event)))
    elif kind == "ssh_config":
        told = event.ssh_config
        memory.keep(memory.configs, process, Config(asked.config_item(event), told.may_match, told.control_path))
    elif event.unix_connect.refused:
        return
    else:
        memory.keep(memory.unix, process, event)
        if process not in memory.execs and process not in memory.configs:
            return
    if kind != "unix_connect":
        for conversation in list(memory.conversations.by_cookie.values()):
            if process == conversation.owner or process in asked.above(conversation.owner, agent):
                yield _look(memory, conversation, agent, None)
        for conversation in memory.hidden.below(process, agent):
            yield from _hidden(memory, conversation, agent)
    if _request(memory, process, agent):
        for conversation in list(memory.conversations.by_cookie.values()):
            yield _answer(memory, conversation, agent)


def _hidden(memory: Memory, conversation: Conversation, agent: AgentView) -> Iterator[Case]:
    """A proxy has said something that is not SSH; it counts when its user certainly asks for a forward."""
    if not client_above(conversation, agent, memory.configs):
        return
    found = _look(memory, conversation, agent, None)
    if found.asked:
        yield found
    else:
        del memory.cases[conversation.cookie]


def _handed_over(memory: Memory, event: event_pb2.Event, process: ProcessKey, agent: AgentView) -> Iterator[Case]:
    """The maker of a tunnel's socket ended; a child that it forked to the background, or whom it handed it to, holds it
    now."""
    for case in list(memory.cases.values()):
        heir = holder(case.conversation, agent)
        if case.severity and case.conversation.owner == process != heir:
            text = f"pid {process.pid}, which opened the connection, ended; pid {heir.pid} holds it now"
            case.add(EvidenceItem.of(event, "process", text, pid=str(heir.pid)))
            yield case


def _request(memory: Memory, process: ProcessKey, agent: AgentView) -> bool:
    """Notes a request to a control master, if the process's arguments, configuration and Unix connect make one."""
    known = agent.process(process)
    if known is None or next(memory.conversations.held_by(process, agent), None) is not None:
        return False
    command = argv.openssh(words(known.argv)) if hints(words(known.argv)) else None
    config = memory.configs.get(process)
    item = (
        asked.argv_item(known, command, memory.execs, "asked its control master for a remote forward")
        if command
        else None
    )
    if item is None and config is not None and not config.may:
        item = config.item
    if item is None:
        return False
    named = control.control_path(command, known.cwd) if command else ""
    named = named or (config.control_path if config is not None else "")
    connect = memory.unix.get(process)
    path = posixpath.join(known.cwd or "/", connect.unix_connect.path) if connect is not None else ""
    pattern = control.as_pattern(named) if named else None
    if path and pattern is not None and pattern.fullmatch(path):
        memory.requests.add(control.Request(process, path, item))
        return True
    if command is not None and command.control_command == "forward":
        memory.requests.add(control.Request(process, named or path, item))
        return True
    return False


def _look(memory: Memory, conversation: Conversation, agent: AgentView, event: event_pb2.Event | None) -> Case:
    """Holds everything that is known besides its packets against one conversation."""
    case = memory.case(conversation)
    if conversation.serves and not case.serves and event is not None:
        case.serves = True
        text = (
            "the agent opened this connection and serves SSH on it (it answered the key exchange, calling itself "
            f"{conversation.banner})"
        )
        case.add(EvidenceItem.of(event, "wire", text, what="server"))
    for asker, text in asked.askers(conversation, agent):
        given = words(asker.argv)
        command = argv.read(given, conversation.banner or "OpenSSH") if hints(given) else None
        if command is not None and asker.key != conversation.owner and any(mark in command.host for mark in ":/"):
            command = None
        item = asked.argv_item(asker, command, memory.execs, text)
        if item is not None:
            case.asked = True
            case.add(item)
        config = memory.configs.get(asker.key)
        if config is not None and config.item is not None and reads_config(conversation.banner):
            case.may = case.may or config.may
            case.asked = case.asked or not config.may
            case.add(config.item)
    return _answer(memory, conversation, agent)


def _answer(memory: Memory, conversation: Conversation, agent: AgentView) -> Case:
    """Holds the requests that go to this conversation's control socket against it."""
    case = memory.case(conversation)
    if not memory.requests:
        return case
    owner = agent.process(conversation.owner)
    command = argv.openssh(words(owner.argv)) if owner is not None else None
    config = memory.configs.get(conversation.owner)
    paths = [
        control.control_path(command, owner.cwd) if command and owner else "",
        config.control_path if config else "",
    ]
    for request in memory.requests.take(conversation.owner, paths, sole=len(memory.conversations.by_cookie) == 1):
        case.asked = True
        case.add(request.evidence)
    return case


def _relay(memory: Memory, local: Local) -> Case:
    case = memory.case(local.conversation)
    # where an X server would listen, use alone says nothing: X11 forwarding looks the same
    if not local.display or case.severity:
        case.relay(local)
    return case


def _judge(case: Case, agent: AgentView) -> Iterator[Finding]:
    severity = case.severity
    if not severity or case.told == len(case.evidence):
        return
    conversation = case.conversation
    flow = conversation.began.payload.flow
    title = DETECTOR.title if not case.serves else "SSH served over a connection that the agent opened"
    yield Finding(
        title=f"{title}, peer {address_text(flow.destination, flow.destination_port)}",
        severity=severity,
        techniques=DETECTOR.techniques,
        process=holder(conversation, agent),
        flow=conversation.cookie,
        evidence=case.news(),
        key=f"{conversation.owner.pid}-{conversation.owner.start_time_ns}-{conversation.cookie}",
    )
