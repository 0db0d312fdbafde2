"""What the kernel side says of itself: what a hook cannot see, and what the kernel did not let it see."""

from __future__ import annotations

import pytest

from sensor.kernel.coverage import Fact, with_skipped
from sensor.kernel.loader import Kernel
from tests.kernel.conftest import kernel, settings
from tests.needs import KERNEL

__all__ = ["kernel", "settings"]

SINCE = {"destroy": (6, 5), "unix_connect": (6, 7), "unix_send": (6, 7), "handed": (6, 10)}
"""The first kernel, for facts that some supported kernels cannot tell: docs/kernels.md."""
FULL = Fact("close", "inet_sock_set_state", "tp_btf", "full", "", False)


def test_a_fact_whose_runs_were_skipped_is_not_whole() -> None:
    partial = Fact("send", "udp_sendmsg", "cgroup", "partial", "only UDP", False)
    missing = Fact("unix_connect", "", "cgroup", "missing", "this kernel refuses it", False)
    told = with_skipped([FULL, partial, missing], {"close": 3, "send": 1, "unix_connect": 1, "exec": 9})
    assert [fact.state for fact in told] == ["partial", "partial", "missing"]
    assert "skipped 3 of its runs" in told[0].missing
    assert told[1].missing.startswith("only UDP; the kernel has skipped 1 ")
    assert with_skipped([FULL], {"close": 0}) == [FULL]


@pytest.mark.root
def test_what_passes_no_hook_is_named(kernel: Kernel) -> None:
    facts = {fact.fact: fact for fact in kernel.facts()}
    assert facts["socket"].state == "partial"
    assert all(family in facts["socket"].missing for family in ("AF_PACKET", "AF_VSOCK", "AF_XDP"))
    assert facts["send"].state == "partial"
    skipped = {name for name, fact in facts.items() if "skipped" in fact.missing}
    assert bool(skipped) == bool(kernel.missed())


@pytest.mark.root
def test_a_kernel_refuses_only_what_is_younger(kernel: Kernel) -> None:
    """What tests skip by, so here alone the version is asked: a hook that a change has broken must not go unseen as a skip."""
    missing = {fact.fact for fact in kernel.coverage if fact.state == "missing"}
    assert missing == {fact for fact, since in SINCE.items() if since > KERNEL}
