"""Every way to tamper with an audit is found, and said where."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from rubicon.v1.audit_chain import (
    GENESIS,
    MOST,
    Report,
    Signed,
    Verifier,
    canonical,
    digest,
    fingerprint,
    parse,
    signature_fits,
    to_sign,
)

COUNT = 12
CHECKPOINTS = (4, 8, 12)


class Key:
    """One that signs."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()
        self.name = fingerprint(self.public)

    def checkpoint(self, place: int, hash_: str) -> Signed:
        body: dict[str, str | int] = {
            "kind": "checkpoint",
            "sequence": place,
            "hash": hash_,
            "time": when(place),
            "key": self.name,
        }
        return Signed(canonical(body), self._private.sign(to_sign(canonical(body))))


KEY = Key()


def when(place: int) -> str:
    return f"2026-01-01T00:00:{place:02d}.000000000Z"


@dataclass
class Written:
    """An audit as it lies there: place → (content, hash)."""

    rows: list[tuple[int, bytes, str]] = field(default_factory=list)
    signed: list[Signed] = field(default_factory=list)

    def append(self, **facts: str) -> None:
        place = len(self.rows) + 1
        previous = self.rows[-1][2] if self.rows else GENESIS
        content = canonical({"sequence": place, "previous": previous, "time": when(place), **facts})
        self.rows.append((place, content, digest(content)))

    def rewrite(self, place: int, **facts: str) -> None:
        """Change a record, and make its own hash fit."""
        content = canonical({**parse(self.rows[place - 1][1]), **facts})
        self.rows[place - 1] = (place, content, digest(content))

    def follow(self, place: int) -> None:
        """Make every hash after a place fit again."""
        for later in range(place + 1, len(self.rows) + 1):
            self.rewrite(later, previous=self.rows[later - 2][2])

    def check(self, *keys: bytes) -> Report:
        verifier = Verifier(keys or [KEY.public], self.signed)
        for row in self.rows:
            verifier.take(*row)
        return verifier.finish()


def audit(count: int = COUNT, checkpoints: tuple[int, ...] = CHECKPOINTS) -> Written:
    made = Written()
    for place in range(1, count + 1):
        made.append(identity="uid 0 pid 7 @rome", action="kill", target=f"agent n{place}")
    made.signed = [KEY.checkpoint(place, made.rows[place - 1][2]) for place in checkpoints]
    return made


def spans(report: Report) -> list[tuple[int, int]]:
    return [(fault.first, fault.last) for fault in report.faults]


def test_what_was_written_is_whole() -> None:
    report = audit().check()
    assert report.faults == []
    assert (report.records, report.checkpoints, report.last, report.covered) == (COUNT, 3, COUNT, COUNT)
    assert report.keys == {KEY.name: 3}
    assert Written().check() == Report()


def test_what_no_checkpoint_covers_yet_is_no_alarm() -> None:
    report = audit(COUNT, (4, 8)).check()
    assert (report.faults, report.last, report.covered) == ([], COUNT, 8)


@pytest.mark.parametrize("place", range(1, COUNT + 1))
def test_an_edited_record_is_named(place: int) -> None:
    made = audit()
    at, content, hash_ = made.rows[place - 1]
    made.rows[place - 1] = (at, content.replace(b"uid 0", b"uid 1"), hash_)
    (fault,) = made.check().faults
    assert (fault.first, fault.last, fault.time) == (place, place, when(place))
    assert "was changed" in fault.what


@pytest.mark.parametrize("place", range(1, COUNT + 1))
def test_an_edited_record_whose_hash_was_made_fit_is_found(place: int) -> None:
    made = audit()
    made.rewrite(place, identity="somebody else")
    (fault,) = made.check().faults
    assert fault.first <= place <= fault.last
    assert fault.last - fault.first <= 3
    assert fault.time


@pytest.mark.parametrize("place", range(1, COUNT + 1))
def test_a_chain_that_was_made_fit_from_a_place_on_does_not_fit_the_signature(place: int) -> None:
    made = audit()
    made.rewrite(place, identity="somebody else")
    made.follow(place)
    report = made.check()
    before = max([0, *(each for each in CHECKPOINTS if each < place)])
    assert spans(report)[0] == (before + 1, before + 4)
    assert report.covered == before
    assert "hashes and all" in report.faults[0].what


@pytest.mark.parametrize("place", range(1, COUNT + 1))
def test_a_deleted_record_is_named(place: int) -> None:
    made = audit()
    del made.rows[place - 1]
    (fault,) = made.check().faults
    assert (fault.first, fault.last) == (place, place)
    assert "missing" in fault.what
    assert fault.time == (when(place - 1) if place > 1 else "")


def test_several_deleted_records_are_one_fault() -> None:
    made = audit()
    del made.rows[2:7]
    assert spans(made.check()) == [(3, 7)]


@pytest.mark.parametrize("left", range(COUNT))
def test_a_cut_tail_is_found_up_to_the_last_checkpoint(left: int) -> None:
    made = audit()
    del made.rows[left:]
    (fault,) = made.check().faults
    assert (fault.first, fault.last) == (left + 1, 12)
    assert "cut off" in fault.what
    assert when(12) in fault.what


@pytest.mark.parametrize("place", range(1, COUNT))
def test_swapped_records_are_both_named(place: int) -> None:
    made = audit()
    one, other = made.rows[place - 1], made.rows[place]
    made.rows[place - 1], made.rows[place] = (place, *other[1:]), (place + 1, *one[1:])
    assert spans(made.check()) == [(place, place), (place + 1, place + 1)]


@pytest.mark.parametrize("place", range(2, COUNT + 1))
def test_an_inserted_record_is_found_where_it_stands(place: int) -> None:
    made = audit()
    forged = Written(made.rows[: place - 1])
    forged.append(identity="forged")
    row = forged.rows[-1]
    twice = Written([*made.rows[: place - 1], row, *made.rows[place - 1 :]], made.signed)
    assert (place, place) in spans(twice.check())
    shifted = Written(list(forged.rows), made.signed)
    for place_, content, _ in made.rows[place - 1 :]:
        body = {**parse(content), "sequence": place_ + 1, "previous": shifted.rows[-1][2]}
        shifted.rows.append((place_ + 1, canonical(body), digest(canonical(body))))
    report = shifted.check()
    assert report.faults[0].first <= place <= report.faults[0].last


def test_a_checkpoint_that_was_changed_is_found() -> None:
    made = audit()
    made.signed[1] = replace(made.signed[1], content=made.signed[1].content.replace(b"sequence", b"sequencf"))
    assert "cannot be read" in made.check().faults[0].what
    made = audit()
    body = {**parse(made.signed[1].content), "hash": made.rows[6][2]}
    made.signed[1] = replace(made.signed[1], content=canonical(body))
    report = made.check()
    assert spans(report) == [(8, 8)]
    assert "signature is wrong" in report.faults[0].what
    assert report.checkpoints == 2


def test_a_signature_of_another_key_counts_for_nothing() -> None:
    made, other = audit(), Key()
    made.rewrite(7, identity="x")
    made.follow(7)
    made.signed[1:] = [other.checkpoint(place, made.rows[place - 1][2]) for place in (8, 12)]
    report = made.check()
    assert [fault.first for fault in report.faults] == [8, 12]
    assert all(other.name in fault.what for fault in report.faults)
    assert report.covered == 4


def announced(old: Key, new: Key) -> Written:
    made = Written()
    for key in (old, new):
        made.append(action="key", target=key.name, detail=base64.b64encode(key.public).decode())
        made.append(action="kill")
        made.signed.append(key.checkpoint(len(made.rows), made.rows[-1][2]))
    return made


def test_the_key_of_today_vouches_for_those_before_it() -> None:
    old = Key()
    made = announced(old, KEY)
    report = made.check()
    assert (report.faults, report.keys) == ([], {KEY.name: 1, old.name: 1})
    assert [fault.first for fault in made.check(old.public).faults] == [4], "the old one does not for a later one"
    assert made.check(old.public, KEY.public).faults == []


def test_an_announcement_that_nobody_signed_vouches_for_nobody() -> None:
    forger = Key()
    made = announced(forger, KEY)
    made.signed.pop()
    report = made.check()
    assert len(report.faults) == 1
    assert "unknown key" in report.faults[0].what


def test_faults_are_bounded() -> None:
    made = audit(MOST + 50, (4,))
    made.rows = [(place, content + b" ", hash_) for place, content, hash_ in made.rows]
    assert len(made.check().faults) == MOST


Change = Callable[[bytes, int], bytes]
CHANGES: tuple[Change, ...] = (
    lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    lambda data, at: data[:at] + data[at + 1 :],
    lambda data, at: data[:at] + b" " + data[at:],
    lambda data, at: data[:at],
)


@given(st.integers(1, COUNT), st.sampled_from(CHANGES), st.data())
def test_any_changed_byte_is_found(place: int, change: Change, data: st.DataObject) -> None:
    made = audit()
    at, content, hash_ = made.rows[place - 1]
    changed = change(content, data.draw(st.integers(0, len(content) - 1)))
    made.rows[place - 1] = (at, changed, hash_)
    assert spans(made.check()) == [(place, place)]
    made.rows[place - 1] = (at, changed, digest(changed))
    report = made.check()
    assert report.faults
    assert any(fault.first <= place <= fault.last for fault in report.faults)


@given(st.dictionaries(st.text(), st.integers() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_canonical_bytes_read_back(body: dict[str, str | int]) -> None:
    try:
        data = canonical(body)
    except UnicodeEncodeError:  # a key with a lone surrogate: no such name is written
        return
    assert parse(data) == body
    assert data == canonical(parse(data))
    assert json.loads(data) == body


def test_signatures_are_of_this_use_only() -> None:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    assert signature_fits(public, b"x", private.sign(to_sign(b"x")))
    assert not signature_fits(public, b"x", private.sign(b"x"))
    assert not signature_fits(public[:-1], b"x", private.sign(to_sign(b"x")))
    assert not signature_fits(public, b"x", b"")


def test_a_fingerprint_is_named_as_ssh_does() -> None:
    assert fingerprint(bytes(32)) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
