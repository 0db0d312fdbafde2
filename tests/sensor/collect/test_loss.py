"""The ledger: differences, once; deleted counters, damaged ledgers and new epochs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor.collect.loss import LossLedger

ACCOUNT = (0xABC, 2, 1)


def counts(ledger: LossLedger, total: int | None) -> list[int]:
    return [e.loss.count for e in ledger.changes(None if total is None else {ACCOUNT: total})]


def test_only_differences_are_told_and_a_counter_that_went_back_is_new() -> None:
    ledger = LossLedger(1)
    assert [counts(ledger, n) for n in (3, 3, None, 10, 4)] == [[3], [], [], [7], [4]]


def test_the_ledger_survives_a_restart_of_the_same_epoch_only() -> None:
    first = LossLedger(1)
    first.changes({ACCOUNT: 10})
    assert counts(LossLedger(1, first.dump()), 12) == [2]
    assert counts(LossLedger(2, first.dump()), 12) == [12]


@pytest.mark.parametrize(
    "damaged", [b"{", b"[]", b'{"epoch":1}', b'{"epoch":1,"told":[[1]]}', b"\xff", b'{"epoch":1,"told":3}']
)
def test_a_damaged_ledger_counts_as_empty(damaged: bytes) -> None:
    assert counts(LossLedger(1, damaged), 5) == [5]


def test_own_losses_are_added_to_the_kernels() -> None:
    ledger = LossLedger(1)
    ledger.count(*ACCOUNT, count=2)
    assert counts(ledger, 5) == [7]
    ledger.count(*ACCOUNT)
    assert counts(ledger, None) == [1]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_what_is_told_always_adds_up(steps: list[tuple[int, bool]]) -> None:
    ledger, total, told = LossLedger(7), 0, 0
    for more, restart in steps:
        total += more
        told += sum(counts(ledger, total))
        if restart:
            ledger = LossLedger(7, ledger.dump())
    assert told == total
