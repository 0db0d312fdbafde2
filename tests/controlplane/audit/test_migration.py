"""A database from before the audit was a chain: what it had becomes the chain's beginning."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from controlplane.store import engine
from tests.controlplane.audit.desk import Hand, desk

OLD = [
    ("b", 1_700_000_000_000_000_002, "policy", "Kill", "agent x", "ok"),
    ("a", 1_700_000_000_000_000_001, "uid 7 pid 8 @rome", "CreateAgent", 'name: "mine" \u202e', "AGENT_NAME_TAKEN"),
]


def old(folder: Path, rows: list[tuple[str, int, str, str, str, str]]) -> None:
    folder.mkdir()
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).with_name("migrations")))
    database = create_engine(f"sqlite:///{folder / 'rubicon.db'}")
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.dispose()
    with sqlite3.connect(folder / "rubicon.db") as connection:
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
