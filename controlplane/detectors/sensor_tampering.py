"""An agent did what only its watcher may do, or tried to: severity critical.

Proves: the sensor saw a process of the agent at something of its own, at the moment of the call and by the kernel's word
for who calls. What there is now: a call to the sensor's local socket, which was refused, whatever it asked for; and
processes in such number that the hash that tells them apart is nearly full, for which the kernel condemned the agent.

Cannot see: tampering that the sensor does not notice. Host root can detach hooks and delete tags by bpf(2), trace or
stop the daemons and edit their files without a record of it.

Known false alarms: a `rubicon` command that is run inside an agent, by a script that expects to be outside, say.

Sources: the sensor's Tamper events (event.proto); SO_PEERCRED in unix(7). ATT&CK: T1562.001 (impair defenses: disable or
modify tools).
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.keys import process_key
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2

DETECTOR = Detector(
    id="sensor-tampering",
    title="Tampering with the sensor",
    severity=alert_pb2.SEVERITY_CRITICAL,
    techniques=("T1562.001",),
    reads=(event_pb2.Tamper,),
)


class Memory:
    """Nothing: each event stands for itself."""


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event."""
    process = process_key(event.process)
    if process is None:
        return
    action = event.tamper.action or "unknown"
    yield Finding(
        title=f"{DETECTOR.title}: {action}",
        severity=DETECTOR.severity,
        techniques=DETECTOR.techniques,
        process=process,
        flow=None,
        evidence=[EvidenceItem.of(event, "behaviour", event.tamper.detail or action, action=action)],
        key=f"{action}-{process.pid}-{process.start_time_ns}",
    )
