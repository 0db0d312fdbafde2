"""Whoever has the database can change it; a check says so, and where. Real SQLite, a real key, a real file of checkpoints."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rubicon.v1.audit_chain import Report, canonical, parse
from tests.controlplane.audit.desk import SETTINGS, Desk, Hand, desk

RECORDS = 23
"""The key's announcement, then 22 of kills."""
PLACES = (6, 11, 16, 21, 23)
"""Of checkpoints."""


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Desk]:
    # no checkpoint but those that are asked for here: the signer would make one as soon as five records are durable
    async with desk(tmp_path, replace(SETTINGS, checkpoint_records=1000)) as opened:
        for _ in range(4):
            await opened.write(5)
            await opened.audit.checkpoint()
        await opened.write(RECORDS - 21)
        await opened.audit.checkpoint()
        assert tuple(parse(signed.content)["sequence"] for signed in opened.audit.notary.read()) == PLACES
        yield opened


@pytest.fixture
def hand(written: Desk) -> Iterator[Hand]:
    opened = Hand(written.folder)
    yield opened
    opened.close()


def where(report: Report) -> list[tuple[int, int]]:
    return [(fault.first, fault.last) for fault in report.faults]


async def test_what_nobody_touched_is_whole(written: Desk) -> None:
    report = written.check()
    assert (report.faults, report.records, report.last, report.covered) == ([], RECORDS, RECORDS, RECORDS)
    assert report.keys == {written.audit.notary.fingerprint: report.checkpoints}
    assert report.checkpoints == len(PLACES)


@pytest.mark.parametrize(
    "column",
    ["time_ns", "phase", "request", "identity", "action", "agent_id", "alert_id", "response_id", "hash", "body"],
)
async def test_an_edited_column(written: Desk, hand: Hand, column: str) -> None:
    value = b"x" * 32 if column in ("hash", "body") else 1 if column in ("time_ns", "request") else "x"
    hand.run(f"UPDATE audit_records SET {column} = ? WHERE sequence = 9", value)
    (fault, *more) = written.check().faults
    assert (fault.first, fault.last, more) == (9, 9, [])
    assert fault.time == (hand.body(9 if column != "body" else 8)["time"])
    assert "changed" in fault.what


@pytest.mark.parametrize("place", [1, 2, 10, 11, 22, RECORDS])
async def test_an_edited_record_with_its_hash(written: Desk, hand: Hand, place: int) -> None:
    hand.rewrite(place, identity="uid 1000 pid 9 @rome")
    faults = written.check().faults
    assert len(faults) == 1 or place == 1  # the first one announced the key as well
    assert faults[0].first <= place <= faults[0].last <= faults[0].first + 5


@pytest.mark.parametrize("place", [3, 10, 11, 22])
async def test_an_edited_record_with_all_hashes_after_it(written: Desk, hand: Hand, place: int) -> None:
    hand.rewrite(place, outcome="ok")
    hand.follow(place)
    report = written.check()
    assert report.faults[0].first <= place <= report.faults[0].last
    assert report.covered < place


@pytest.mark.parametrize("place", [1, 2, 10, 22, RECORDS])
async def test_a_deleted_record(written: Desk, hand: Hand, place: int) -> None:
    hand.run("DELETE FROM audit_records WHERE sequence = ?", place)
    faults = written.check().faults
    assert (faults[0].first, faults[0].last) == (place, place)
    assert "missing" in faults[0].what


async def test_a_deleted_record_with_all_later_ones_moved_up(written: Desk, hand: Hand) -> None:
    hand.run("DELETE FROM audit_records WHERE sequence = 7")
    for place in range(8, RECORDS + 1):
        body = {**hand.body(place), "sequence": place - 1, "previous": hand.hash(place - 2)}
        hand.run("DELETE FROM audit_records WHERE sequence = ?", place)
        hand.put(canonical(body), place - 1)
    report = written.check()
    assert report.faults[0].first <= 7 <= report.faults[0].last


async def test_reordered_records(written: Desk, hand: Hand) -> None:
    for old, new in ((8, 100), (9, 8), (100, 9)):
        hand.run("UPDATE audit_records SET sequence = ? WHERE sequence = ?", new, old)
    assert where(written.check()) == [(8, 8), (9, 9)]


async def test_an_inserted_record(written: Desk, hand: Hand) -> None:
    forged = {**hand.body(8), "target": "agent forged", "sequence": 9, "previous": hand.hash(8)}
    for place in range(RECORDS, 8, -1):
        hand.run("UPDATE audit_records SET sequence = ? WHERE sequence = ?", place + 1, place)
    hand.put(canonical(forged), 9)
    report = written.check()
    assert (report.faults[0].first, report.faults[0].last) == (10, 10)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("left", [0, 12, RECORDS - 1])
async def test_a_cut_tail_also_with_its_checkpoints(written: Desk, hand: Hand, left: int, checkpoints: bool) -> None:
    time = hand.body(left)["time"] if left else ""
    hand.cut(left, checkpoints=checkpoints)
    fault = written.check().faults[-1]
    assert (fault.first, fault.last, fault.time) == (left + 1, RECORDS, time)
    assert "cut off" in fault.what


@pytest.mark.parametrize("checkpoints", [False, True])
async def test_a_tail_that_was_cut_while_the_plane_was_away(tmp_path: Path, checkpoints: bool) -> None:
    async with desk(tmp_path) as opened:
        await opened.write(14)
    hand = Hand(tmp_path)
    hand.cut(8, checkpoints=checkpoints)
    hand.close()
    async with desk(tmp_path) as opened:
        assert opened.bodies()[-1]["action"] == "damage"
        assert opened.bodies()[-1]["detail"] == "records 9 to 15 are missing"
        assert opened.bodies()[-1]["sequence"] == 16
        await opened.write(5)
        await opened.audit.checkpoint()
        assert where(opened.check()) == [(9, 15)]
    async with desk(tmp_path) as opened:
        assert [body["action"] for body in opened.bodies()].count("damage") == 1
        assert where(opened.check()) == [(9, 15)]


async def test_a_record_that_was_edited_while_the_plane_was_away(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        await opened.write(14)
    hand = Hand(tmp_path)
    hand.rewrite(15, target="somebody else")
    hand.close()
    async with desk(tmp_path) as opened:
        assert opened.bodies()[-1]["detail"] == "record 15 is not the one that was signed"
        await opened.write(1)
        (fault,) = opened.check().faults
        assert fault.first <= 15 <= fault.last


Spoil = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [*lines[:2], b"x" + lines[2], *lines[3:]],
        lambda lines: [*lines[:2], base64.b64encode(bytes(64)) + lines[2][88:], *lines[3:]],
        lambda lines: [*lines[:2], lines[2].replace(b'"sequence":16', b'"sequence":15'), *lines[3:]],
    ],
    ids=["cut", "one taken out", "unreadable", "another signature", "another place"],
)
async def test_a_file_of_checkpoints_that_was_changed(written: Desk, spoil: Spoil) -> None:
    file = written.audit.notary.file
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(spoil(lines)))
    assert written.check().faults


async def test_a_file_of_checkpoints_that_is_gone(written: Desk) -> None:
    written.audit.notary.file.unlink()
    assert "removed" in written.check().faults[0].what
    await written.stop()
    async with desk(written.folder) as opened:
        assert "begins anew" in opened.bodies()[-1]["detail"]
        await opened.audit.checkpoint()
        assert opened.check().faults == []


async def test_checkpoints_that_were_taken_out_of_the_table_are_still_in_the_file(written: Desk, hand: Hand) -> None:
    hand.run("DELETE FROM audit_checkpoints")
    hand.rewrite(7, reason="another")
    hand.follow(7)
    assert written.check().faults[0].first <= 7 <= written.check().faults[0].last


async def test_a_forged_checkpoint(written: Desk, hand: Hand) -> None:
    ((body, signature),) = hand.run("SELECT body, signature FROM audit_checkpoints WHERE sequence = 11")
    hand.run("UPDATE audit_checkpoints SET signature = ? WHERE sequence = 11", bytes(64))
    assert any("signature is wrong" in fault.what for fault in written.check().faults)
    hand.run("UPDATE audit_checkpoints SET signature = ? WHERE sequence = 11", signature)
    forged = body.replace(b'"sequence":11', b'"sequence":999999')
    hand.run("INSERT INTO audit_checkpoints VALUES (999999, ?, ?)", forged, signature)
    assert any("signature is wrong" in fault.what for fault in written.check().faults)
    await written.stop()
    async with desk(written.folder) as opened:
        assert len(opened.bodies()) == RECORDS, "nobody is led astray by it"
