"""A process left its agent's cgroup, entered another agent's, or an agent moved a stranger into one.

Proves: the kernel moved the process, or it was born there, and who did it. It stays its agent's whatever its cgroup, and
its packets are followed on the root cgroup from then on; a stranger stays nobody's, and cgroup.kill is not used there
any more. Severity critical for a stranger, which could otherwise have died for the agent; high when a process of the
agent did it; medium when somebody outside did. The first ten of an agent and kind (left, contested, stranger) are alerts
of their own; all that follow are one, which counts them: a bomb that moves about leaves thousands of times a second.

Cannot see: agents without a cgroup of their own (enrolled where they were), and moves on v1 hierarchies, which do not
matter here. Children of a process that has left are outside as well and raise nothing more.

Known false alarms: a service manager or a container's runtime that an agent asked for something may move its processes
(systemd-run --scope, podman): the mover is then outside, and the severity medium. An agent that is root and manages
cgroups by itself, such as a container engine inside it, raises high.

Sources: cgroup_attach_task in kernel/cgroup/cgroup.c; cgroups(7); bpf/join.bpf.c and bpf/fork.bpf.c. ATT&CK: T1562
(impair defenses).
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.model.detector import Detector
from controlplane.model.finding import EvidenceItem, Finding
from controlplane.model.keys import ProcessKey, process_key
from controlplane.model.view import AgentView
from rubicon.v1 import alert_pb2, event_pb2

DETECTOR = Detector(
    id="left-cgroup",
    title="Left its agent's cgroup",
    severity=alert_pb2.SEVERITY_CRITICAL,
    techniques=("T1562",),
    reads=(event_pb2.Join,),
    singles=10,
)
_LEFT, _STRANGER = event_pb2.JOIN_REASON_LEFT, event_pb2.JOIN_REASON_STRANGER
_WHAT = {
    _LEFT: ("left", DETECTOR.title),
    event_pb2.JOIN_REASON_CONTESTED: ("contested", "Entered another agent's cgroup"),
    _STRANGER: ("stranger", "Stranger moved into an agent's cgroup"),
}


class Memory:
    """Nothing: each event stands for itself."""


def detect(event: event_pb2.Event, agent: AgentView, memory: Memory) -> Iterator[Finding]:
    """Takes one event."""
    join = event.join
    target, mover = process_key(join.target), process_key(event.process)
    if join.reason not in _WHAT or target is None or mover is None:
        return
    word, title = _WHAT[join.reason]
    stranger, own = join.reason == _STRANGER, agent.process(mover) is not None
    # a stranger is not in the agent's tree: the alert is about who moved it, and names all that it moved
    about = mover if stranger else target
    yield Finding(
        title=title,
        severity=DETECTOR.severity if stranger else alert_pb2.SEVERITY_HIGH if own else alert_pb2.SEVERITY_MEDIUM,
        techniques=DETECTOR.techniques,
        process=about,
        flow=None,
        evidence=[
            EvidenceItem.of(
                event,
                "behaviour",
                f"{_came(join)}: {_by(mover, target, own or stranger)}",
                reason=word,
                cgroup=_place(join),
                cgroup_agent=join.cgroup_agent_id,
                target=str(target.pid),
                mover=str(mover.pid),
            )
        ],
        key=f"{word}-{about.pid}-{about.start_time_ns}",
        group=word,
    )


def _place(join: event_pb2.Join) -> str:
    return join.cgroup_path or f"(id {join.cgroup_id})"


def _came(join: event_pb2.Join) -> str:
    pid, place = join.target.pid, _place(join)
    if join.reason == _LEFT:
        return f"process {pid} left its agent's cgroup for {place}"
    who = f"process {pid}, which is no agent's," if join.reason == _STRANGER else f"process {pid}"
    return f"{who} came to cgroup {place} of agent {join.cgroup_agent_id}"


def _by(mover: ProcessKey, target: ProcessKey, own: bool) -> str:
    if mover == target:
        return "it moved itself"
    return f"process {mover.pid} did it" if own else f"process {mover.pid}, which is not the agent's, did it"
