"""Plain outbound SSH: a fact worth knowing, at severity info.

Proves: a process of the agent opened a connection and sent an SSH identification string on it (RFC 4253 4.2), on any
port, from any program. One finding a process; more connections of the same process are repeats of it.

Cannot see: SSH inside TLS or another encrypted carrier; a connection that was already up when the agent was enrolled.

Known false alarms: none at this severity. A program that sends "SSH-" first and then speaks something else is counted
as SSH.

Sources: RFC 4253. ATT&CK: T1021.004 (remote services: SSH).
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.detectors._ssh.conversation import Conversations
from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.flow import address_text
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2, flow_pb2

DETECTOR = Detector(
    id="ssh-outbound",
    title="Outbound SSH",
    severity=alert_pb2.SEVERITY_INFO,
    techniques=("T1021.004",),
    reads=(event_pb2.Connect, event_pb2.Establish, event_pb2.Payload, event_pb2.Close),
)


class Memory:
    """Which connections speak SSH; bounded."""

    def __init__(self) -> None:
        self.conversations = Conversations()


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event."""
    kind = event.WhichOneof("kind")
    conversations = memory.conversations
    if kind == "connect":
        if not event.connect.refused:
            conversations.connect(event.connect.flow)
    elif kind == "establish":
        if event.establish.flow.direction == flow_pb2.FLOW_DIRECTION_OUTBOUND:
            conversations.connect(event.establish.flow)
    elif kind == "close":
        conversations.close(event.close.flow.cookie)
    elif kind == "payload":
        found = conversations.payload(event, agent)
        if found is None or found.began is not event:
            return
        peer = address_text(event.payload.flow.destination, event.payload.flow.destination_port)
        yield Finding(
            title=f"{DETECTOR.title} to {peer}",
            severity=DETECTOR.severity,
            techniques=DETECTOR.techniques,
            process=found.owner,
            flow=found.cookie,
            evidence=[
                EvidenceItem.of(
                    event, "wire", f"the connection speaks SSH: {found.banner}", banner=found.banner, peer=peer
                )
            ],
            key=f"{found.owner.pid}-{found.owner.start_time_ns}",
        )
