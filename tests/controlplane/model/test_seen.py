"""Record sequences: each is new exactly once, in any order, within a bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model import Seen
from controlplane.model.seen import INTERVALS


@given(st.lists(st.integers(0, 60), max_size=200), st.integers(0, 200))
def test_each_sequence_is_new_once_also_across_a_restart(sequences: list[int], cut: int) -> None:
    seen, known = Seen(), set()
    for at, sequence in enumerate(sequences):
        if at == cut:
            seen = Seen.decode(seen.encode())
        assert seen.add(sequence) == (sequence not in known)
        known.add(sequence)
    covered = [n for start, end in seen for n in range(start, end + 1)]
    assert covered == sorted(known)
    intervals = list(seen)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(intervals)), "they never touch"


def test_holes_are_bounded_and_the_newest_stay_open() -> None:
    seen = Seen()
    top = 2 * (INTERVALS + 500)
    for sequence in range(0, top, 2):
        assert seen.add(sequence)
    assert len(list(seen)) == INTERVALS
    assert seen.add(top - 3), "a hole near the end is still open"
    assert not seen.add(1), "the oldest holes count as seen"
    assert len(seen.encode()) <= 16 * INTERVALS


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(ValueError, match="17 bytes"):
        Seen.decode(b"x" * 17)
