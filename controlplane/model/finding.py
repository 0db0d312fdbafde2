"""What a detector says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.keys import ProcessKey, RecordKey, record_key
from rubicon.v1 import event_pb2


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """One thing that supports a finding."""

    kind: str
    """argv, config, wire, behaviour, …"""
    text: str
    """In words."""
    time_ns: int
    """Kernel time of the record, ns since boot."""
    record: RecordKey | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, event: event_pb2.Event, kind: str, text: str, **fields: str) -> EvidenceItem:
        """Evidence that this event is."""
        return cls(kind, text, event.time_ns, record_key(event), fields)


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector's finding about one process of the agent.

    `key` is stable: the same thing found again has the same key, and adds to the same alert (a repeat, more evidence, a
    higher severity). It must be made of facts that a replay gives again: pids with start times, cookies, names.
    """

    title: str
    severity: int
    """A Severity of alert_pb2."""
    techniques: tuple[str, ...]
    """ATT&CK technique ids."""
    process: ProcessKey
    flow: int | None
    """Socket cookie of the flow it is about, or None."""
    evidence: list[EvidenceItem]
    key: str
    group: str = ""
    """Findings of one agent beyond the limit of single alerts are counted in one alert a group, so that a flood of one kind
    hides no other."""
