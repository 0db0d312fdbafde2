"""A database from before the audit was a chain: what it had becomes the chain's beginning."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.controlplane.audit.desk import Hand, desk
from tests.controlplane.store.earlier import store_at

OLD = [
    ("b", 1_700_000_000_000_000_002, "policy", "Kill", "agent x", "ok"),
    ("a", 1_700_000_000_000_000_001, "uid 7 pid 8 @rome", "CreateAgent", 'name: "mine" \u202e', "AGENT_NAME_TAKEN"),
]


def old(folder: Path, rows: list[tuple[str, int, str, str, str, str]]) -> None:
    with sqlite3.connect(store_at(folder, "0001")) as connection:
        connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()


async def test_what_was_audited_begins_the_chain(tmp_path: Path) -> None:
    old(tmp_path / "store", OLD)
    async with desk(tmp_path) as opened:
        await opened.write(1)
        first, second, key, last = opened.bodies()
        assert (first["action"], first["outcome"], first["target"]) == ("create", "AGENT_NAME_TAKEN", OLD[1][4])
        assert (second["action"], second["identity"], second["time"]) == (
            "kill", "policy", "2023-11-14T22:13:20.000000002Z",
        )  # fmt: skip
        assert (key["action"], last["action"]) == ("key", "kill")
        await opened.audit.checkpoint()
        assert opened.check().faults == []
        Hand(tmp_path).rewrite(1, outcome="ok")
        assert opened.check().faults


async def test_an_empty_one_begins_with_the_key(tmp_path: Path) -> None:
    old(tmp_path / "store", [])
    async with desk(tmp_path) as opened:
        assert [body["action"] for body in opened.bodies()] == ["key"]
