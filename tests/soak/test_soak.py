"""A short slice of the soak, for every run of the tests; `make soak` runs the hour."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.soak.rounds import Escape, Outlive, rounds
from tests.soak.soak import soak
from tests.soak.stand import stand

SECONDS = 30
SEED = int(os.environ.get("RUBICON_SOAK_SEED", "4"))


def test_a_seed_gives_the_same_rounds() -> None:
    first = list(itertools.islice(rounds(7), 50))
    assert first == list(itertools.islice(rounds(7), 50))
    assert first != list(itertools.islice(rounds(8), 50))
    assert {type(each) for each in first} == {Escape, Outlive}


@pytest.mark.root
@pytest.mark.timeout(900)  # others may hold the lock
def test_a_short_soak() -> None:
    with stand() as host:
        tally = soak(host, SEED, SECONDS)
    assert tally.kills
    print(tally)
