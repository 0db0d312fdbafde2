"""Switching the clone tracepoints without waiting for it."""

from __future__ import annotations

import threading

from sensor.act.condemn import Condemner


def test_it_returns_at_once_and_the_last_wish_comes_out() -> None:
    release, calls = threading.Event(), []

    def switch(on: bool) -> None:
        release.wait(10)
        calls.append(on)

    condemner = Condemner(switch)
    condemner.want(True)
    condemner.want(False)
    condemner.want(True)
    assert not condemner.settle(0.01)
    release.set()
    assert condemner.settle(10)
    assert calls[-1] is True
    condemner.want(True)
    assert condemner.settle(0)
    condemner.want(False)
    assert condemner.settle(10)
    assert calls[-1] is False
    assert len(calls) <= 4


def test_a_kernel_that_refuses_stops_no_kill() -> None:
    def switch(on: bool) -> None:
        raise OSError(1, "not permitted")

    condemner = Condemner(switch)
    condemner.want(True)
    assert condemner.settle(10)
