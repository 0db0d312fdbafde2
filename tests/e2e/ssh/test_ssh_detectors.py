"""Real clients against real servers, seen by the kernel and judged by the detectors "ssh-remote-forward" and
"ssh-outbound"."""

from __future__ import annotations

import pytest

from rubicon.v1 import alert_pb2
from tests.controlplane.detectors.golden import HOST, alerts_of, write_golden
from tests.e2e.ssh import hits_hidden, hits_openssh, hits_others, misses
from tests.e2e.ssh.recorder import BEFOREHAND, Recorder, Run, kinds_of
from tests.e2e.ssh.samples import Cleaner
from tests.e2e.ssh.scenario import Scenario, sample_path
from tests.e2e.ssh.world import World

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]  # others may hold the lock
FORWARD, OUTBOUND = "ssh-remote-forward", "ssh-outbound"
ID_OF = {"ssh_remote_forward": FORWARD, "ssh_outbound": OUTBOUND}
OUTBOUND_SAMPLES = frozenset(("command", "dbclient", "long-lived"))
HITS = (*hits_openssh.HITS, *hits_others.HITS, *hits_hidden.HITS)
MISSES = misses.MISSES


def named(scenario: Scenario) -> str:
    return scenario.name


def keep(run: Run, world: World) -> None:
    """Writes the run as samples of both detectors."""
    scenario = run.scenario
    for module, hit in (("ssh_remote_forward", scenario.hit), ("ssh_outbound", scenario.outbound)):
        if module == "ssh_outbound" and scenario.name not in OUTBOUND_SAMPLES:
            continue
        path = sample_path(module, scenario, hit=hit)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(Cleaner(run.events, [(str(world.dir), "/tmp/world")]).lines()) + "\n")
        if hit:
            write_golden(path)
        found = {(alert.title, alert.severity, len(alert.evidence)) for alert in run.alerts().get(ID_OF[module], [])}
        assert {(alert.title, alert.severity, len(alert.evidence)) for alert in alerts_of(path)} == found


@pytest.mark.parametrize("scenario", HITS, ids=named)
def test_hit(scenario: Scenario, recorder: Recorder, world: World, golden: bool) -> None:
    run = recorder.run(scenario)
    alerts = run.alerts()
    (alert,) = alerts[FORWARD]
    assert alert.severity >= scenario.severity
    assert scenario.kinds <= kinds_of([alert])
    # it names the process whose socket carries the tunnel
    assert alert.process is not None
    assert alert.flow is not None
    assert alert.process.key.pid in run.carriers
    assert scenario.holder in b" ".join(alert.process.argv).decode()
    # what shows it beforehand was seen before anything could be relayed
    first = run.first_relayed_ns() + HOST.clock_offset_ns
    before = {item.kind for item in alert.evidence if item.wall_ns < first and item.fields.get("what") != "banner"}
    assert kinds_of([alert]) & BEFOREHAND == before & BEFOREHAND
    assert bool(alerts.get(OUTBOUND)) is scenario.outbound
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
