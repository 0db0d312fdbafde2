"""An agent did what only its watcher may do, or tried to: severity critical.

Proves: by the kernel's word for who it was, that a process of the agent called the sensor's local socket
("local-socket"), opened a file of the daemons ("file-open") or changed one without ("file-change"), sent one of them a
signal ("signal"), traced one ("ptrace"), held a map, program or link of the sensor's ("bpf-access"), lost its tag while it
lived ("tag-removed") or came by a socket that no hook governs while isolated ("ungoverned-socket"). The first two were
refused. By the change alone: that a hook, pin, setting, agent or isolation was not as the sensor had left it, or that a
program of somebody else's uses its maps: then each agent that could have done it has the alert, and its words say how many
those are.

Cannot see: memory that is read or descriptors that are taken without tracing, tracing for less than a second, a namespace
entered, and what was changed and changed back between two looks, a second apart.

Known false alarms: a `rubicon` command or a backup that is run inside an agent; of several agents with all rights, those
that did not do what was seen only by its change; the OOM killer, when an agent's process makes it end a daemon ("had the
kernel send").

Sources: the sensor's Tamper events (event.proto); SO_PEERCRED in unix(7), fanotify(7), the tracepoint signal_generate,
TracerPid and fdinfo in proc(5). ATT&CK: T1562.001 (impair defenses: disable or modify tools).
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
