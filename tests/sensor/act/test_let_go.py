"""Taking Rubicon down leaves nobody stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensor.act.cgroup import Cgroup
from sensor.act.containing import Containing
from sensor.act.let_go import let_go
from tests.sensor.act.stage import Stage, until

pytestmark = pytest.mark.root


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_frozen_run_on(stage: Stage) -> None:
    frozen, _ = stage.launch("sleep", "60")
    away, child = stage.launch("sleep", "60")
    Cgroup.at("/").move(child.pid)
    for agent in (frozen, away):
        stage.containment.freeze(agent, Containing())
    cgroup = stage.enroller.cgroup(frozen)
    assert cgroup
    assert cgroup.frozen
    assert state(child.pid) == "T"
    assert let_go(stage.instance, "boot") == 2
    until(lambda: not cgroup.frozen and state(child.pid) == "S")
