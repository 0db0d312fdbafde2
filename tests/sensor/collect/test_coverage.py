"""Coverage names what is seen, and does not keep silent about the rest."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from rubicon.v1 import coverage_pb2
from sensor.collect.coverage import UNHOOKED, coverage


@dataclass
class Fact:
    fact: str
    hook: str = "sched_process_exec"
    mechanism: str = "tp_btf"
    state: str = "full"
    missing: str = ""
    dies_with_sensor: bool = False


def test_the_loaders_facts_come_first_and_win() -> None:
    told = coverage([Fact("exec"), Fact("unix_connect", state="missing", missing="no hook"), Fact("gpu")], "host-1")
    assert (told.host, told.kernel, told.loader) == ("host-1", platform.release(), "libbpf")
    assert [f.fact for f in told.facts[:3]] == ["exec", "unix_connect", "gpu"]
    assert [f.state for f in told.facts[:3]] == [
        coverage_pb2.COVERAGE_STATE_FULL,
        coverage_pb2.COVERAGE_STATE_MISSING,
        coverage_pb2.COVERAGE_STATE_FULL,
    ]
    assert len([f for f in told.facts if f.fact == "gpu"]) == 1


def test_what_no_hook_sees_is_listed_and_says_why() -> None:
    told = {f.fact: f for f in coverage([], "h").facts}
    assert {"files", "raw-sockets", "vsock", "work-by-proxy"} <= set(told)
    for known in UNHOOKED:
        assert (told[known.fact].missing == "") == (known.state == "full")


def test_work_by_proxy_claims_no_request_that_this_kernel_does_not_show() -> None:
    for state, claimed in (("full", True), ("missing", False)):
        told = {f.fact: f for f in coverage([Fact("unix_connect", state=state, missing="no hook")], "h").facts}
        assert ("as a connect to the broker, is seen" in told["work-by-proxy"].missing) is claimed
