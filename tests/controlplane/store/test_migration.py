"""A store of an earlier version: what it has is there afterwards, in the order of now."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from controlplane.store import engine
from tests.controlplane.store.earlier import store_at

PROCESSES = [
    (1, 300, 10, "aaaaaaaaaaaa", 5, None, b"late"),
    (1, 200, 30, "aaaaaaaaaaaa", 4, 9, b"early, of a higher pid"),
    (2, 200, 20, "bbbbbbbbbbbb", 4, None, b"of another boot"),
]


def test_processes_stand_in_the_order_of_their_start(tmp_path: Path) -> None:
    path = store_at(tmp_path / "store", "0002")
    columns = "boot, start_time_ns, pid, agent_id, started_ns, ended_ns, body"
    with sqlite3.connect(path) as connection:
        connection.executemany(f"INSERT INTO processes ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", PROCESSES)
    connection.close()
    engine.open_engine(path.parent, 1.0).dispose()
    with sqlite3.connect(path) as connection:
        assert connection.execute(f"SELECT {columns} FROM processes").fetchall() == sorted(
            PROCESSES, key=lambda p: p[:3]
        )
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "processes_agent" in tables
        assert "processes_before" not in tables
    connection.close()
