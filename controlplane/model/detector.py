"""What a detector module declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from controlplane.model.finding import Finding
from controlplane.model.view import AgentView
from rubicon.v1 import event_pb2

Detect: TypeAlias = Callable[[event_pb2.Event, AgentView, Any], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector's name card. `reads` is the dispatch: detect() is called for events of these kinds only."""

    id: str
    title: str
    severity: int
    """The highest that it raises, a Severity of alert_pb2."""
    techniques: tuple[str, ...]
    reads: tuple[type[Message], ...]
    """Messages of event_pb2 that are kinds of Event, e.g. (event_pb2.Exec, event_pb2.Connect)."""
    singles: int | None = None
    """Alerts of one agent and group before findings are only counted; policy's limit where it is None or lower."""


class DetectorModule(Protocol):
    """A module in controlplane/detectors/."""

    DETECTOR: Detector
    Memory: Callable[[], Any]
    """Bounded, one per agent; rebuilt by replay after a restart."""
    detect: Detect
