"""One enrolled AI agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.model.keys import Boot, ProcessKey
from rubicon.v1 import agent_pb2


@dataclass(slots=True, eq=False)
class Agent:
    """Facts of an agent and its exact counters."""

    id: str
    name: str
    boot: Boot | None = None
    """None while pending."""
    labels: dict[str, str] = field(default_factory=dict)
    state: int = agent_pb2.AGENT_STATE_RUNNING
    started_wall_ns: int = 0
    ended_wall_ns: int | None = None
    ended_ns: int = 0
    """Kernel time of its finish, 0 while it runs."""
    detached: bool = False
    """It was finished while processes may go on, unwatched."""
    on_alert: str = "monitor"
    command: tuple[str, ...] = ()
    reason: str = ""
    """Why it was killed."""
    alert_id: str = ""
    """The alert for which it was killed; empty when nobody's was the reason."""
    frozen: bool = False
    """All its processes are stopped, by a response."""
    isolated: bool = False
    """It has no network, by a response."""
    contained_reason: str = ""
    """Why it is frozen or isolated, by the last of these responses."""
    cgroup_path: str = ""
    cgroup_ids: tuple[int, ...] = ()
    cgroup_owned: bool = False
    enrolled_by: str = ""
    root: ProcessKey | None = None
    processes: int = 0
    """Living processes."""
    processes_total: int = 0
    flows: int = 0
    alerts: int = 0
    lost: int = 0
    """Records lost that belonged to it, as the sensor counted them."""
    processes_forgotten: int = 0
    """Ended processes that had to leave the tree in memory while descendants were still there."""
    flows_forgotten: int = 0
    """Open flows that had to leave memory because the agent holds too many."""
    findings_folded: int = 0
    """Findings beyond the limit of alerts per detector; they are counted as repeats of one alert."""
    detector_crashes: int = 0
    """Events of this agent on which a detector crashed."""
    enrolled: bool = False
    """The enrol record was seen; False while only other records of the agent were."""

    @property
    def ended(self) -> bool:
        """Finished or killed."""
        return self.state in (agent_pb2.AGENT_STATE_FINISHED, agent_pb2.AGENT_STATE_KILLED)
