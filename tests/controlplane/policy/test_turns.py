"""Never more agents of one rule in any window than it may stop; nobody waits longer than that takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy.turns import Turns

steps = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 6), st.sampled_from("xy")), max_size=60)


@given(steps, st.integers(1, 4))
def test_no_window_has_more_than_the_limit(moves: list[tuple[float, int, str]], most: int) -> None:
    turns, now = Turns(60.0), 0.0
    stopped: list[tuple[float, str, int]] = []
    for pause, agent, rule in moves:
        now += pause
        wait = turns.opens(rule, f"{agent}", most, now)
        assert 0 <= wait <= 60
        in_window = {a for at, r, a in stopped if r == rule and now - at < 60}
        if wait == 0:
            assert agent in in_window or len(in_window) < most
            turns.take(rule, f"{agent}", now)
            if agent not in in_window:
                stopped.append((now, rule, agent))
        else:
            assert len(in_window) >= most
            # just when it says, and not before
            assert turns.opens(rule, f"{agent}", most, now + wait * 0.999) > 0 or wait < 1e-6
            assert turns.opens(rule, f"{agent}", most, now + wait + 1e-6) == 0
            now += wait + 1e-6


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    turns = Turns(60.0)
    for number in range(5):
        turns.take("x", f"{number}", float(number))
    assert turns.opens("x", "new", 2, 10.0) == 60 - (10 - 3)
    assert turns.opens("x", "4", 2, 10.0) == 0, "it counts already"
    assert turns.opens("other", "new", 2, 10.0) == 0
