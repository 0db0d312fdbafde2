"""An agent drove the tag hash to its high-water mark by forking, was condemned for it in the kernel, and is killed.

Proves: the kernel's flag. The agent forked while so many processes were tagged that soon a child could have run without a
tag, and either held an eighth of all tags or the hash was at its limit. Severity critical. The counts are those of the
sensor's look at most a moment later, when those that forked in between have died of it.

Cannot see: a fork bomb that stays below the mark, or that a pid limit stops before. Who of the agent made the others when
he has died of it already: then its root process is named.

Known false alarms: honest work of tens of thousands of processes at once, a small agent that forks when others have driven
the hash to its limit, a hash that was made too small (RUBICON_SENSOR_KERNEL_TAG_MEMORY_BYTES).

Sources: tag_pressure() in bpf/tag.bpf.h; sensor/act/pressure.py. ATT&CK: T1499.001 (endpoint denial of service: OS
exhaustion flood), T1562 (impair defenses).
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.keys import process_key
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2

DETECTOR = Detector(
    id="tag-pressure",
    title="Filled the tag hash with processes",
    severity=alert_pb2.SEVERITY_CRITICAL,
    techniques=("T1499.001", "T1562"),
    reads=(event_pb2.TagPressure,),
)
_COUNTS = ("processes", "tags", "high_water", "limit", "capacity", "children", "untagged")


class Memory:
    """Nothing: each event stands for itself."""


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event."""
    process = process_key(event.process)
    if process is None:
        return
    seen = event.tag_pressure
    text = (
        f"the agent has {seen.processes} processes, {seen.children} of them children of process {process.pid}; all agents "
        f"have {seen.tags}, where the mark is {seen.high_water}, the limit {seen.limit} and the room {seen.capacity}: it was "
        "condemned"
    )
    if seen.untagged:
        text += f"; {seen.untagged} processes have found no place since this host was first watched, and are killed"
    counts = {name: str(getattr(seen, name)) for name in _COUNTS}
    yield Finding(
        title=DETECTOR.title,
        severity=DETECTOR.severity,
        techniques=DETECTOR.techniques,
        process=process,
        flow=None,
        evidence=[EvidenceItem.of(event, "behaviour", text, **counts)],
        key="condemned",
    )
