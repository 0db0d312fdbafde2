"""left-cgroup in told events: who did it decides how bad it is, and many moves are no flood of alerts."""

from __future__ import annotations

from controlplane.detectors import left_cgroup
from controlplane.model import Alert, ProcessKey
from controlplane.pipeline import Pipeline
from rubicon.v1 import alert_pb2, event_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, wire_key

ROOT, CHILD, OUTSIDER = key(100), key(101), key(7)
LEFT, STRANGER = event_pb2.JOIN_REASON_LEFT, event_pb2.JOIN_REASON_STRANGER
CONTESTED, ENROLLED = event_pb2.JOIN_REASON_CONTESTED, event_pb2.JOIN_REASON_ENROLLED
MEDIUM, HIGH, CRITICAL = alert_pb2.SEVERITY_MEDIUM, alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_CRITICAL


def told(*moves: tuple[ProcessKey, ProcessKey, int, str]) -> list[Alert]:
    """Alerts of (mover, target, reason, path of the new cgroup)."""
    kernel, pipeline = Kernel(), Pipeline([left_cgroup])
    events = [kernel.enrol(ROOT), kernel.exec(ROOT, "bash"), kernel.fork(ROOT, CHILD)]
    for mover, target, reason, path in moves:
        join = event_pb2.Join(target=wire_key(target), cgroup_id=9, reason=reason, cgroup_path=path)  # type: ignore[arg-type]
        if reason in (STRANGER, CONTESTED):
            join.cgroup_agent_id = AGENT if reason == STRANGER else "00000000b002"
        events.append(kernel.event(mover, join=join))
    found = list(pipeline.apply(HOST, events).alert_of.values())
    assert pipeline.crashes == {}
    return found


def test_who_leaves_by_itself_is_named() -> None:
    (alert,) = told((CHILD, CHILD, LEFT, "/system.slice"))
    assert (alert.severity, alert.title) == (HIGH, "Left its agent's cgroup")
    assert alert.process
    assert alert.process.key == CHILD
    assert alert.evidence[0].text == "process 101 left its agent's cgroup for /system.slice: it moved itself"


def test_who_is_moved_by_another_of_the_agent() -> None:
    (alert,) = told((ROOT, CHILD, LEFT, "/"))
    assert alert.severity == HIGH
    assert alert.evidence[0].text.endswith("process 100 did it")


def test_who_is_moved_by_somebody_outside_is_less() -> None:
    (alert,) = told((OUTSIDER, CHILD, LEFT, ""))
    assert alert.severity == MEDIUM
    assert "for (id 9)" in alert.evidence[0].text
    assert alert.evidence[0].text.endswith("process 7, which is not the agent's, did it")


def test_another_agents_cgroup() -> None:
    (alert,) = told((CHILD, CHILD, CONTESTED, "/rubicon/00000000b002"))
    assert (alert.severity, alert.title) == (HIGH, "Entered another agent's cgroup")
    assert "of agent 00000000b002" in alert.evidence[0].text


def test_strangers_are_one_alert_about_who_moved_them() -> None:
    (alert,) = told(*((CHILD, key(pid), STRANGER, "/rubicon/a") for pid in range(500, 700)))
    assert alert.severity == CRITICAL
    assert alert.process
    assert alert.process.key == CHILD
    assert "process 500, which is no agent's, came to" in alert.evidence[0].text
    assert len(alert.evidence) + alert.evidence_left_out == 200


def test_leaving_again_and_again_is_one_alert() -> None:
    (alert,) = told(*((CHILD, CHILD, LEFT, path) for path in ("/a", "/b", "/a")))
    assert (len(alert.evidence), alert.repeats) == (2, 1)


def test_who_comes_is_no_alert() -> None:
    assert told((OUTSIDER, key(200), ENROLLED, "/rubicon/a")) == []


def test_a_flood_of_leavers_is_ten_alerts_and_one_that_counts() -> None:
    """Whatever else it does is not hidden by it: the first stranger is critical at once."""
    moves = [(key(pid), key(pid), LEFT, f"/{pid}") for pid in range(1000, 3000)]
    found = told(*moves, (CHILD, key(7), STRANGER, "/rubicon/a"))
    assert len(found) == 12
    (more,) = [alert for alert in found if "and more" in alert.title]
    (stranger,) = [alert for alert in found if alert.severity == CRITICAL]
    assert more.severity == MEDIUM  # of processes whose records have not come
    assert more.repeats == 2000 - 10 - 1
    assert more.last_wall_ns > more.wall_ns
    assert len(more.evidence) == 16
    assert "came to" in stranger.evidence[0].text
