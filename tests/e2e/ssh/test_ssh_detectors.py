"""Real clients against real servers, seen by the kernel and judged by the detectors "ssh-remote-forward" and
"ssh-outbound"."""

from __future__ import annotations

import pytest

from rubicon.v1 import alert_pb2
from tests.controlplane.detectors.golden import HOST, write_golden
from tests.e2e.ssh.recorder import Recorder, Run
from tests.e2e.ssh.samples import lines
from tests.e2e.ssh.scenarios import HITS, MISSES, Scenario, sample_path
from tests.e2e.ssh.world import World

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
FORWARD, OUTBOUND = "ssh-remote-forward", "ssh-outbound"


def named(scenario: Scenario) -> str:
    return scenario.name


def keep(run: Run, world: World) -> None:
    """Writes the run as samples of both detectors."""
    scenario = run.scenario
    for module, hit in (("ssh_remote_forward", scenario.hit), ("ssh_outbound", scenario.outbound)):
        if module == "ssh_outbound" and scenario.name not in ("command", "dbclient", "long-lived"):
            continue
        path = sample_path(module, scenario, hit=hit)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines(run.events, world)) + "\n")
        if hit:
            write_golden(path)


@pytest.mark.parametrize("scenario", HITS, ids=named)
def test_hit(scenario: Scenario, recorder: Recorder, world: World, golden: bool) -> None:
    run = recorder.run(scenario)
    alerts = run.alerts()
    assert len(alerts.get(FORWARD, [])) == 1
    (alert,) = alerts[FORWARD]
    assert alert.severity >= alert_pb2.SEVERITY_HIGH
    evidence = [item for item in alert.evidence if item.fields.get("what") != "banner"]
    assert scenario.kinds <= {item.kind for item in evidence}
    assert alert.process is not None
    argv = b" ".join(alert.process.argv).decode()
    assert scenario.holder in argv
    owners = {
        (event.process.pid, event.process.start_time_ns)
        for event in run.events
        if event.HasField("payload") and event.payload.outbound and event.payload.data.startswith(b"SSH-")
    }
    assert alert.flow is not None
    if "process" not in {item.kind for item in evidence}:
        assert tuple(alert.process.key) in owners
    first = run.first_relayed_ns() + HOST.clock_offset_ns
    before = {item.kind for item in evidence if item.wall_ns < first}
    assert before >= {kind for kind in ("argv", "config", "wire") if kind in {item.kind for item in evidence}}
    assert len(alerts.get(OUTBOUND, [])) >= 1
    if golden and scenario.sample:
        keep(run, world)


@pytest.mark.parametrize("scenario", MISSES, ids=named)
def test_miss(scenario: Scenario, recorder: Recorder, world: World, golden: bool) -> None:
    run = recorder.run(scenario)
    alerts = run.alerts()
    assert alerts.get(FORWARD, []) == []
    assert bool(alerts.get(OUTBOUND)) is scenario.outbound
    assert max((alert.severity for found in alerts.values() for alert in found), default=0) <= alert_pb2.SEVERITY_INFO
    assert any(event.HasField("exec") for event in run.events)
    if golden and scenario.sample:
        keep(run, world)
