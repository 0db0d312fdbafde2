"""What is known against one SSH connection, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.detectors._ssh.conversation import Conversation
from controlplane.detectors._ssh.relay import Local
from controlplane.model.finding import EvidenceItem
from controlplane.model.flow import address_text
from rubicon.v1 import alert_pb2

MANY_RELAYED = 16
"""Connections through one forward that are told one by one."""


@dataclass(slots=True, eq=False)
class Case:
    """Evidence about one conversation, in the order in which it was found."""

    conversation: Conversation
    evidence: list[EvidenceItem] = field(default_factory=list)
    told: int = 0
    asked: bool = False
    """Arguments or a configuration that certainly applies ask for a remote forward."""
    may: bool = False
    """A configuration that may apply asks for one."""
    sized: bool = False
    serves: bool = False
    proof: int = 0
    relayed: int = 0

    @property
    def severity(self) -> int:
        """0 for nothing to say.

        Critical: bytes were relayed. High: it was asked for, or is in use. Medium: only packet sizes, or only a
        configuration behind a condition that was not evaluated, say so; both together are high.
        """
        if self.proof == 2:
            return alert_pb2.SEVERITY_CRITICAL
        if self.asked or self.serves or self.proof or (self.may and self.sized):
            return alert_pb2.SEVERITY_HIGH
        return alert_pb2.SEVERITY_MEDIUM if self.may or self.sized else 0

    def add(self, item: EvidenceItem) -> None:
        """One more piece of evidence; the same record's is not taken twice."""
        if all(
            (item.kind, item.record, item.text) != (known.kind, known.record, known.text) for known in self.evidence
        ):
            self.evidence.append(item)

    def relay(self, local: Local) -> None:
        """A connection was opened for the far side."""
        self.relayed += 1
        self.proof = max(self.proof, local.proof)
        if self.relayed > MANY_RELAYED:
            return
        connect = local.connect
        target = address_text(connect.connect.flow.destination, connect.connect.flow.destination_port)
        words = {
            1: "and the far side was told that it stands (the confirmation of a channel, by its size)",
            2: "and bytes pass between the two, in matching sizes",
        }[local.proof]
        who = "its child" if local.below else "the process"
        text = f"{who} connected to {target}, {words}"
        if local.asked is not None:
            late = (connect.time_ns - local.asked.time_ns) / 1e6
            text = f"{local.asked.length} bytes came in over SSH, {late:.1f} ms later {text}"
        self.evidence.append(
            EvidenceItem.of(connect, "behaviour", text, target=target, proof=("", "confirmed", "relayed")[local.proof])
        )

    def news(self) -> list[EvidenceItem]:
        """Evidence that was not told yet; it counts as told from now on."""
        fresh = self.evidence[self.told :]
        self.told = len(self.evidence)
        return fresh
