"""What the plane knows, as plain objects: entities, the view that detectors get, findings.

Nothing here does I/O or knows another part of the plane. Times named `…_ns` on events and keys are CLOCK_BOOTTIME
nanoseconds of the host; `…_wall_ns` are wall-clock nanoseconds since 1970.
"""

from controlplane.model.agent import Agent
from controlplane.model.alert import Alert, AlertFlow, Evidence
from controlplane.model.changes import Changes
from controlplane.model.detector import Detect, Detector, DetectorModule
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.flow import Flow, FlowState
from controlplane.model.keys import Boot, HostKey, ProcessKey, RecordKey, process_key, record_key
from controlplane.model.process import Credentials, Descriptor, Image, Namespaces, Process
from controlplane.model.response import POLICY, KnownAlert, Response, ResponseWanted, Survivor, is_followed, rule_of
from controlplane.model.seen import Seen
from controlplane.model.view import AgentView

__all__ = [
    "POLICY",
    "Agent",
    "AgentView",
    "Alert",
    "AlertFlow",
    "Boot",
    "Changes",
    "Credentials",
    "Descriptor",
    "Detect",
    "Detector",
    "DetectorModule",
    "Evidence",
    "EvidenceItem",
    "Finding",
    "Flow",
    "FlowState",
    "HostKey",
    "Image",
    "KnownAlert",
    "Namespaces",
    "Process",
    "ProcessKey",
    "RecordKey",
    "Response",
    "ResponseWanted",
    "Seen",
    "Survivor",
    "is_followed",
    "process_key",
    "record_key",
    "rule_of",
]
