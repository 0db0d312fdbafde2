"""An agent asked somebody outside its tree to do work: what that one starts is not the agent's, and not killed with it.

Proves: a process of the agent connected to where a broker listens that is not the agent's own (the kernel names who called
listen(), and whose he is), or executed the set-id program that leaves work for at or cron, or holds an SSH conversation with
a server on this host that is not its own. Critical where that alone means that something is started: a container engine, a
terminal multiplexer's server, SSH, `at`, `crontab`; at systemd and D-Bus where the client's arguments say so, or where a
program that is none of systemd's goes to its private socket. Medium for what changes the manager without a start, for what
was refused, and for an engine of which nobody was seen. Info for anything else on a bus.

Cannot see: what is said on a socket. A program of its own that calls StartTransientUnit over D-Bus is info. Files in cron.d,
unit folders and spools that root writes itself; a broker that we do not know; a descriptor that was handed over; a path
through a link to a server that is known by its path alone; on kernels before 6.7 all Unix sockets.

Known false alarms: honest use is the same act. Package scripts that restart a service, a developer's `docker ps`, `tmux ls`
with a server outside, a listener that the agent had before it was enrolled, a cron daemon inside the agent.

Sources: bpf/unix_connect.bpf.c, bpf/unix_peer.bpf.h; unix(7), SO_PEERCRED; systemctl(1), at(1), crontab(1); RFC 4253. ATT&CK:
T1021.004 (SSH), T1053.002 (at), T1053.003 (cron), T1543.002 (systemd service), T1559 (inter-process communication), T1610
(deploy container).
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.detectors._proxy import ports
from controlplane.detectors._proxy.brokers import Broker, Kind, broker, place
from controlplane.detectors._proxy.queue import queued
from controlplane.detectors._proxy.wishes import Wish, program, wish
from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.flow import address_text
from controlplane.model.keys import ProcessKey, process_key
from controlplane.model.process import UNKNOWN, Image
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2

DETECTOR = Detector(
    id="work-by-proxy",
    title="Work by proxy",
    severity=alert_pb2.SEVERITY_CRITICAL,
    techniques=("T1021.004", "T1053.002", "T1053.003", "T1543.002", "T1559", "T1610"),
    reads=(
        event_pb2.Exec,
        event_pb2.UnixConnect,
        event_pb2.Listen,
        event_pb2.Establish,
        event_pb2.Payload,
        event_pb2.Close,
    ),
)
_INFO, _MEDIUM = alert_pb2.SEVERITY_INFO, alert_pb2.SEVERITY_MEDIUM
_HIGH, _CRITICAL = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_CRITICAL
_BY_WISH = {Wish.LOOK: _INFO, Wish.UNKNOWN: _INFO, Wish.CHANGE: _MEDIUM, Wish.START: _CRITICAL}
_COMMAND = 512
"""Bytes of a command line in a piece of evidence; the alert's process has all of it."""


class Memory:
    """Ports that the agent listens on; bounded."""

    def __init__(self) -> None:
        self.listeners = ports.Listeners()


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event."""
    kind = event.WhichOneof("kind")
    if kind == "listen":
        memory.listeners.add(event.listen.flow)
    elif kind == "close":
        memory.listeners.close(event.close.flow.cookie)
    elif kind == "payload":
        yield from _port(event, event.payload.flow.cookie, agent, memory)
    elif kind == "establish":
        yield from _port(event, event.establish.flow.cookie, agent, memory)
    elif (key := process_key(event.process)) is not None:
        yield from _exec(event, key, agent) if kind == "exec" else _unix(event, key, agent)


def _exec(event: event_pb2.Event, key: ProcessKey, agent: AgentView) -> Iterator[Finding]:
    image = _image(key, agent)
    found = queued(image)
    if found is None:
        return
    name, techniques = found
    text = f"{_who(key, image)} leaves work for {name}'s daemon, which is not the agent's"
    yield Finding(
        title=f"{DETECTOR.title}: {name}",
        severity=_CRITICAL,
        techniques=techniques,
        process=key,
        flow=None,
        evidence=[EvidenceItem.of(event, "argv", text, broker=name, program=image.exe)],
        key=f"queue-{name}",
    )


def _unix(event: event_pb2.Event, key: ProcessKey, agent: AgentView) -> Iterator[Finding]:
    connect = event.unix_connect
    if connect.peer_agent_id == agent.id:
        return
    image = _image(key, agent)
    where = place(connect.path, image.cwd)
    asked = broker(where, connect.peer_comm)
    if asked is None:
        return
    severity = _severity(asked, connect, image)
    if severity is None:
        return
    peer = _peer(connect)
    text = f"{_who(key, image)} asked {asked.name} at {where}: {peer}"
    if connect.refused:
        text += "; it was refused"
        severity = min(severity, _MEDIUM)
    yield Finding(
        title=f"{DETECTOR.title}: {asked.name}" if severity != _INFO else f"Asked {asked.name}",
        severity=severity,
        techniques=asked.techniques,
        process=key,
        flow=None,
        evidence=[
            EvidenceItem.of(
                event,
                "behaviour",
                text,
                broker=asked.name,
                path=where,
                peer=str(connect.peer.pid or ""),
                peer_agent=connect.peer_agent_id,
                program=image.exe,
            )
        ],
        key=f"unix-{asked.name}-{where}-{'info' if severity == _INFO else 'asked'}",
    )


def _severity(asked: Broker, connect: event_pb2.UnixConnect, image: Image) -> int | None:
    """None where nobody was asked."""
    # the kernel compares names: one that is written in a roundabout way may be somebody's all the same
    nobody = connect.peer_state == event_pb2.PEER_STATE_NOBODY and connect.path == place(connect.path, "/")
    if asked.kind is Kind.ENGINE:
        return _MEDIUM if nobody else _CRITICAL
    if nobody:
        return None
    if asked.kind is Kind.TERMINAL:
        return _CRITICAL if connect.peer_state == event_pb2.PEER_STATE_FOUND else _HIGH
    wanted = wish(image)
    if asked.kind is Kind.MANAGER and wanted is Wish.UNKNOWN:
        return _CRITICAL
    return _BY_WISH[wanted]


def _port(event: event_pb2.Event, cookie: int, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    flow = agent.flow(cookie)
    if flow is None:
        return
    speaks = bool(flow.ssh_inbound and flow.ssh_outbound)
    if event.HasField("payload") and not speaks:
        return
    if flow.process is None or not ports.local(flow):
        return
    name = ports.SSH if speaks else ports.BROKERS.get(flow.destination_port)
    if name is None or memory.listeners.has(flow, agent):
        return
    peer = address_text(flow.destination, flow.destination_port)
    image = _image(flow.process, agent)
    home = ports.at_home(flow, agent)
    severity = (_CRITICAL if speaks else _HIGH if name != ports.SSH else _MEDIUM) if home else _INFO
    said = f"speaks SSH with {_line(flow.ssh_inbound)}" if speaks else f"connected to {name}'s port"
    yield Finding(
        title=f"{DETECTOR.title}: {name} on this host" if home else f"{name} at its network namespace's loopback",
        severity=severity,
        techniques=ports.TECHNIQUES[name],
        process=flow.process,
        flow=cookie,
        evidence=[
            EvidenceItem.of(
                event,
                "wire" if speaks else "behaviour",
                f"{_who(flow.process, image)} {said} at {peer}, where the agent does not listen",
                broker=name,
                peer=peer,
                program=image.exe,
            )
        ],
        key=f"port-{name}-{flow.netns_cookie}-{peer}",
    )


def _image(key: ProcessKey, agent: AgentView) -> Image:
    process = agent.process(key)
    return process.image if process is not None else UNKNOWN


def _who(key: ProcessKey, image: Image) -> str:
    command = b" ".join(image.argv)[:_COMMAND].decode("utf-8", "backslashreplace")
    return f"process {key.pid} ({command or program(image) or 'unknown program'})"


def _peer(connect: event_pb2.UnixConnect) -> str:
    if connect.peer_state != event_pb2.PEER_STATE_FOUND:
        return "who listens there was not seen"
    whose = f"of agent {connect.peer_agent_id}" if connect.peer_agent_id else "which is no agent's"
    if not connect.peer.start_time_ns:
        return f"process {connect.peer.pid} has made the socket, and has ended"
    return f"process {connect.peer.pid} ({connect.peer_comm}) listens there, {whose}"


def _line(banner: bytes) -> str:
    return banner.decode("ascii", "backslashreplace").strip()
