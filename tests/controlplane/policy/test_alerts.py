"""From findings to alerts."""

from __future__ import annotations

from typing import Any

from controlplane.model import Alert, Detector, EvidenceItem, Finding, ProcessKey
from controlplane.policy import Alerts, Raised
from controlplane.policy.alerts import AlertLimits, alert_id
from controlplane.tree import AgentTree
from rubicon.v1 import alert_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tcp
from tests.controlplane.tree.stand import Stand

INFO, HIGH = alert_pb2.SEVERITY_INFO, alert_pb2.SEVERITY_HIGH
DETECTOR = Detector("d", "D", HIGH, (), ())
ROOT, A = key(10), key(11)


class Case:
    """An agent with a process that has a flow."""

    def __init__(self, **limits: int) -> None:
        kernel = Kernel()
        self.tree: AgentTree = Stand().take(kernel.enrol(ROOT), kernel.fork(ROOT, A), kernel.flow(A, "connect", tcp(1)))
        self.alerts = Alerts(self.tree.agent, HOST.boot, AlertLimits(**limits))

    def take(self, time_ns: int = 100, evidence: list[EvidenceItem] | None = None, **facts: Any) -> Raised:
        finding = Finding(
            title=facts.get("title", "T"),
            severity=facts.get("severity", INFO),
            techniques=facts.get("techniques", ()),
            process=facts.get("process", A),
            flow=facts.get("flow"),
            evidence=evidence or [],
            key=facts.get("key", "k"),
        )
        return self.alerts.take(DETECTOR, finding, self.tree, time_ns, 1000)


def test_the_id_depends_on_everything_that_makes_it_the_same_finding() -> None:
    boot = HOST.boot
    other = boot._replace(host="athens")
    ids = {
        alert_id(boot, AGENT, "d", "k"),
        alert_id(other, AGENT, "d", "k"),
        alert_id(boot._replace(boot_id="x"), AGENT, "d", "k"),
        alert_id(boot, "00000000ffff", "d", "k"),
        alert_id(boot, AGENT, "e", "k"),
        alert_id(boot, AGENT, "d", "l"),
    }
    assert len(ids) == 6
    assert alert_id(boot, AGENT, "d", "k") == Case().take().alert.id
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


def test_more_evidence_is_merged_in_order_of_time() -> None:
    case = Case()
    case.take(evidence=[EvidenceItem("wire", "later", 90)])
    alert = case.take(evidence=[EvidenceItem("argv", "sooner", 50)], techniques=("T1",)).alert
    assert [(item.text, item.wall_ns) for item in alert.evidence] == [("sooner", 1050), ("later", 1090)]
    assert (alert.repeats, alert.techniques) == (0, ("T1",))


def test_the_same_words_again_are_a_repeat() -> None:
    case = Case()
    for time_ns in (1, 2, 3):
        alert = case.take(time_ns, [EvidenceItem("wire", "same", time_ns)]).alert
    assert (alert.repeats, len(alert.evidence), alert.time_ns) == (2, 1, 1)


def test_a_higher_severity_makes_it_louder_and_a_lower_one_does_not() -> None:
    case = Case()
    assert case.take().louder
    assert not case.take().louder
    raised = case.take(200, severity=HIGH, title="Worse")
    assert (raised.louder, raised.alert.title, raised.alert.time_ns) == (True, "Worse", 200)
    assert not case.take(300, severity=INFO, title="T").louder
    assert raised.alert.severity == HIGH


def test_evidence_beyond_the_limit_is_counted() -> None:
    case = Case(evidence=2)
    alert = case.take(evidence=[EvidenceItem("wire", str(n), n) for n in range(5)]).alert
    assert (len(alert.evidence), alert.evidence_left_out) == (2, 3)


def test_a_process_that_has_left_memory_is_still_named() -> None:
    alert = Case().take(process=ProcessKey(77, 7)).alert
    assert alert.process is not None
    assert (alert.process.key, alert.ancestors) == (ProcessKey(77, 7), [])


def test_the_process_is_a_copy_as_of_the_event() -> None:
    case = Case()
    alert: Alert = case.take(flow=1).alert
    case.tree.process(A).agent_id = "changed"  # type: ignore[union-attr]
    assert alert.process is not None
    assert alert.process.agent_id == AGENT
    assert alert.flow is not None
    assert (alert.flow.source, alert.flow.destination) == ("10.0.3.7:40001", "203.0.113.9:22")


def test_a_long_line_of_ancestors_is_cut_in_the_middle() -> None:
    kernel, stand = Kernel(), Stand()
    tree = stand.take(kernel.enrol(ROOT))
    last = ROOT
    for pid in range(20, 60):
        tree = stand.take(kernel.fork(last, key(pid)))
        last = key(pid)
    alerts = Alerts(tree.agent, HOST.boot, AlertLimits(ancestors=3))
    alert = alerts.take(DETECTOR, Finding("T", INFO, (), last, None, [], "k"), tree, 1, 0).alert
    assert [ancestor.key.pid for ancestor in alert.ancestors] == [58, 57, 10]
