"""The order of things: duplicates, tree, detectors, alerts, policy, restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.model import Agent, AgentView, Changes, Detector, EvidenceItem, Finding, KnownAlert, process_key
from controlplane.pipeline import Pipeline
from controlplane.policy import Policy, Rule
from controlplane.policy.alerts import AlertLimits
from rubicon.v1 import agent_pb2, alert_pb2, coverage_pb2, event_pb2, response_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tcp

HIGH, INFO = alert_pb2.SEVERITY_HIGH, alert_pb2.SEVERITY_INFO


class Connects:
    """A detector: every connect to port 22 is a finding, a second one of the same process makes it high."""

    DETECTOR = Detector("connects", "Connects", HIGH, ("T1021",), (event_pb2.Connect,))

    @dataclass
    class Memory:
        seen: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def detect(event: event_pb2.Event, agent: AgentView, memory: Any) -> Iterator[Finding]:
        process = process_key(event.process)
        assert process is not None
        flow = event.connect.flow
        if flow.destination_port != 22:
            return
        times = memory.seen[process.pid] = memory.seen.get(process.pid, 0) + 1
        severity = HIGH if times == 2 else INFO
        evidence = [EvidenceItem.of(event, "wire", f"connect {min(times, 2)}", cookie=str(flow.cookie))]
        yield Finding("SSH", severity, ("T1021",), process, flow.cookie, evidence, f"pid {process.pid}")


class Crashes:
    """A detector with a defect."""

    DETECTOR = Detector("crashes", "Crashes", INFO, (), (event_pb2.Connect,))
    Memory = dict

    @staticmethod
    def detect(event: event_pb2.Event, agent: AgentView, memory: Any) -> Iterator[Finding]:
        raise KeyError("defect")
        yield


def story(kernel: Kernel, on_alert: str = "monitor", connects: int = 1) -> list[event_pb2.Event]:
    root, shell, ssh = key(10), key(11), key(12)
    events = [
        kernel.enrol(root, on_alert=on_alert, labels={"job": "rome-7"}, command=["sh"]),
        kernel.snapshot(root, "sh", "-c", "work"),
        kernel.fork(root, shell),
        kernel.fork(shell, ssh),
        kernel.exec(ssh, "ssh", "host", cwd="/root"),
        kernel.flow(ssh, "socket", tcp(1)),
    ]
    for cookie in range(1, connects + 1):
        events.append(kernel.flow(ssh, "connect", tcp(cookie)))
    return events


def pipeline(**options: Any) -> Pipeline:
    return Pipeline([Crashes, Connects], **options)  # type: ignore[list-item]


def only(changes: Changes) -> Any:
    (alert,) = changes.alerts
    return alert


def test_an_alert_names_process_ancestors_flow_and_time() -> None:
    plane = pipeline()
    plane.cover(
        HOST.boot,
        coverage_pb2.Coverage(
            facts=[
                coverage_pb2.CoverageFact(fact="exec", state=coverage_pb2.COVERAGE_STATE_FULL),
                coverage_pb2.CoverageFact(
                    fact="unix_connect", state=coverage_pb2.COVERAGE_STATE_MISSING, missing="no hook before 6.7"
                ),
            ]
        ),
    )
    events = story(Kernel())
    alert = only(plane.apply(HOST, events))
    assert alert.process.argv == (b"ssh", b"host")
    assert alert.process.cwd == "/root"
    assert [ancestor.key.pid for ancestor in alert.ancestors] == [11, 10]
    assert alert.flow.protocol == "tcp"
    assert alert.flow.source == "10.0.3.7:40001"
    assert alert.flow.destination == "203.0.113.9:22"
    assert alert.wall_ns == events[-1].time_ns + HOST.clock_offset_ns
    assert alert.evidence[0].wall_ns == alert.wall_ns
    assert alert.evidence[0].record == (77, 0, 5)
    assert alert.coverage == ["unix_connect: no hook before 6.7"]
    assert (alert.agent_name, alert.severity, alert.response) == ("rollout", INFO, "none")


def test_duplicates_are_dropped_by_record_identity() -> None:
    plane = pipeline()
    events = story(Kernel())
    first = plane.apply(HOST, events)
    again = plane.apply(HOST, events)
    assert (len(first.events), first.duplicates) == (len(events), 0)
    assert (len(again.events), again.duplicates) == (0, len(events))
    assert not list(again.alerts)
    assert not list(again.seen)


def test_what_was_seen_survives_a_restart() -> None:
    plane, kernel = pipeline(), Kernel()
    events = story(kernel)
    states = list(plane.apply(HOST, events).seen)
    restarted = pipeline()
    restarted.remember(HOST.boot, states)
    more = kernel.fork(key(10), key(13))
    assert restarted.apply(HOST, [*events, more]).events == [more]


def test_the_same_finding_repeats_one_alert_and_may_raise_it() -> None:
    plane = pipeline()
    kernel = Kernel()
    alert = only(plane.apply(HOST, story(kernel, connects=1)))
    plane.apply(HOST, [second := kernel.flow(key(12), "connect", tcp(2))])
    assert (alert.severity, alert.repeats, len(alert.evidence)) == (HIGH, 0, 2)
    assert alert.time_ns == second.time_ns
    plane.apply(HOST, [kernel.flow(key(12), "connect", tcp(3)), kernel.flow(key(12), "connect", tcp(4))])
    assert (alert.severity, alert.repeats, len(alert.evidence)) == (HIGH, 2, 2)


def test_a_crash_in_one_detector_stops_nothing_and_shows() -> None:
    plane = pipeline()
    with capture_logs() as lines:
        assert only(plane.apply(HOST, story(Kernel()))).detector == "connects"
    assert plane.crashes == {"crashes": 1}
    assert [line["event"] for line in lines] == ["detector crashed"]
    (fact,) = plane.facts()
    assert fact.fact == "detector crashes"
    assert "crashed on 1 events" in fact.missing


@pytest.mark.parametrize(("on_alert", "kills"), [("monitor", 0), ("kill", 1)])
def test_on_alert_kill_acts_from_high_on_and_once(on_alert: str, kills: int) -> None:
    plane = pipeline()
    changes = plane.apply(HOST, story(Kernel(), on_alert, connects=5))
    assert len(changes.responses) == kills
    if kills:
        (wanted,) = changes.responses
        alert = only(changes)
        assert (wanted.agent_id, wanted.alert_id, wanted.action) == (AGENT, alert.id, response_pb2.ACTION_KILL)
        assert (alert.response, alert.response_id) == ("kill", wanted.id)
        assert wanted.reason == "connects: SSH (high)"


def test_below_high_nothing_is_killed() -> None:
    assert not pipeline().apply(HOST, story(Kernel(), "kill", connects=1)).responses


def test_an_enrol_record_that_comes_late_still_decides() -> None:
    enrol, *rest = story(Kernel(), "kill", connects=2)
    plane = pipeline()
    early = plane.apply(HOST, rest)
    assert not early.responses
    assert only(early).agent_name == AGENT
    late = plane.apply(HOST, [enrol])
    assert [wanted.alert_id for wanted in late.responses] == [only(late).id]
    assert only(late).agent_name == "rollout"


def test_after_a_failed_kill_the_next_alert_asks_again() -> None:
    plane, kernel = pipeline(), Kernel()
    (first,) = plane.apply(HOST, story(kernel, "kill", connects=2)).responses
    other = key(20)
    more = [kernel.fork(key(10), other), *(kernel.flow(other, "connect", tcp(c)) for c in (8, 9))]
    plane.kill_failed(AGENT)
    (second,) = plane.apply(HOST, more).responses
    assert second.id != first.id


def test_rules_by_detector_and_label_and_monitor() -> None:
    rule = Rule(response_pb2.ACTION_KILL, "connects", {"job": "rome-7"}, INFO)
    assert pipeline(policy=Policy([rule])).apply(HOST, story(Kernel())).responses
    other = Rule(response_pb2.ACTION_KILL, "connects", {"job": "rome-8"}, INFO)
    assert not pipeline(policy=Policy([other])).apply(HOST, story(Kernel())).responses
    monitor = Rule(response_pb2.ACTION_KILL, "connects", {}, INFO, enforce=False)
    changes = pipeline(policy=Policy([monitor])).apply(HOST, story(Kernel()))
    assert not changes.responses
    assert only(changes).response == "none (would kill)"


def test_replay_gives_the_same_alerts_and_asks_for_nothing_twice() -> None:
    kernel = Kernel()
    events = story(kernel, "kill", connects=2)
    first = pipeline().apply(HOST, events)
    alert = only(first)
    fresh = pipeline().apply(HOST, events)
    assert only(fresh).id == alert.id
    assert fresh.responses == first.responses

    restarted = pipeline()
    changes = restarted.restore(HOST, events, {alert.id: KnownAlert(alert.response_id, False)})
    assert not changes.responses
    assert not list(changes.alerts)
    assert restarted.view(AGENT) is not None
    restarted.remember(HOST.boot, list(first.seen))
    later = restarted.apply(HOST, [*events, kernel.flow(key(12), "connect", tcp(7))])
    assert only(later).id == alert.id
    assert only(later).response_id == alert.response_id
    assert only(later).repeats == 1
    assert not later.responses


def test_a_kill_that_had_failed_before_a_restart_is_asked_for_again() -> None:
    kernel = Kernel()
    events = story(kernel, "kill", connects=2)
    alert = only(pipeline().apply(HOST, events))
    other = key(20)
    more = [kernel.fork(key(10), other), *(kernel.flow(other, "connect", tcp(c)) for c in (8, 9))]
    for failed in (True, False):
        plane = pipeline()
        plane.restore(HOST, events, {alert.id: KnownAlert(alert.response_id, failed)})
        changes = plane.apply(HOST, more)
        assert len(changes.responses) == failed
        (second,) = [a for a in changes.alerts if a.id != alert.id]
        assert (second.response_id == alert.response_id) != failed


def test_a_restart_in_the_middle_of_a_story_changes_nothing() -> None:
    events = story(Kernel(), "kill", connects=2)
    whole = only(pipeline().apply(HOST, events))
    for cut in range(len(events) + 1):
        before, after = pipeline(), pipeline()
        alerts = {a.id: KnownAlert(a.response_id, False) for a in before.apply(HOST, events[:cut]).alerts}
        after.restore(HOST, events[:cut], alerts)
        after.remember(HOST.boot, [])
        changes = after.apply(HOST, events[cut:])
        ids = {*alerts, *(alert.id for alert in changes.alerts)}
        assert ids == {whole.id}


def test_findings_beyond_the_limit_are_folded_and_counted() -> None:
    plane = pipeline(alert_limits=AlertLimits(alerts=3))
    kernel = Kernel()
    root = key(10)
    plane.apply(HOST, [kernel.enrol(root)])
    alerts = {}
    for pid in range(20, 30):
        changes = plane.apply(HOST, [kernel.fork(root, key(pid)), kernel.flow(key(pid), "connect", tcp(pid))])
        alerts.update({alert.id: alert for alert in changes.alerts})
    agent = plane.agent(AGENT)
    assert agent is not None
    assert (len(alerts), agent.alerts, agent.findings_folded) == (4, 4, 7)
    (more,) = [alert for alert in alerts.values() if "and more" in alert.title]
    assert more.repeats == 6


def test_kill_verified_and_finish_in_either_order_is_killed() -> None:
    for finish_first in (True, False):
        plane, kernel = pipeline(), Kernel()
        plane.apply(HOST, story(kernel))
        if finish_first:
            plane.apply(HOST, [kernel.finish("exited")])
        agent = plane.killed(AGENT, "by hand", 5)
        assert isinstance(agent, Agent)
        if not finish_first:
            plane.apply(HOST, [kernel.finish("exited")])
        assert (agent.state, agent.reason, agent.processes) == (agent_pb2.AGENT_STATE_KILLED, "by hand", 0)


def test_events_about_the_host_have_no_agent() -> None:
    plane, kernel = pipeline(), Kernel(agent="")
    probe = kernel.event(None, probe=event_pb2.Probe(token="t"))
    changes = plane.apply(HOST, [probe])
    assert changes.events == [probe]
    assert not list(changes.agents)


def test_a_reboot_ends_what_ran_before_and_a_late_stream_of_it_ends_nothing() -> None:
    plane, kernel = pipeline(), Kernel()
    events = story(kernel)
    plane.apply(HOST, events)
    later = HOST._replace(boot_id="99999999-2222-3333-4444-555555555555", clock_offset_ns=HOST.clock_offset_ns + 10**12)
    other = Kernel(agent="00000000c003")
    ((stream, changes),) = plane.connected(later, 7)
    assert stream == HOST
    (agent,) = changes.agents
    assert (agent.state, agent.processes, agent.ended_wall_ns) == (agent_pb2.AGENT_STATE_FINISHED, 0, 7)
    assert len(list(changes.processes)) == 3
    assert plane.view(AGENT) is None
    plane.apply(later, [other.enrol(key(10))])
    assert plane.connected(HOST, 8) == []
    assert plane.connected(later, 9) == []
    assert plane.agent("00000000c003") is not None
    assert plane.apply(HOST, events).duplicates == len(events)
    assert not list(plane.apply(HOST, [kernel.exec(key(12), "late")]).agents)
