"""Rows to be written: one dict an entity, collected by primary key so that an entity that changed often is written
once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.store import schema

Row = dict[str, Any]
_KEYS: dict[str, tuple[str, ...]] = {
    t.name: tuple(c.name for c in t.primary_key) for t in schema.metadata.tables.values()
}


class Rows:
    """Entities to upsert in one transaction."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[str, dict[tuple[Any, ...], Row]] = {}

    def put(self, table: Table, row: Row) -> None:
        """Take a row; the newest of the same key wins."""
        key = tuple(row[name] for name in _KEYS[table.name])
        self._tables.setdefault(table.name, {})[key] = row

    def merge(self, newer: Rows) -> None:
        """Take all of another's rows, which are newer."""
        for name, rows in newer._tables.items():
            self._tables.setdefault(name, {}).update(rows)

    def of(self, table: Table) -> Collection[Row]:
        """What there is to write into one table."""
        return self._tables.get(table.name, {}).values()

    def tables(self) -> Iterable[tuple[Table, list[Row]]]:
        """What there is to write, by table."""
        for name, rows in self._tables.items():
            yield schema.metadata.tables[name], list(rows.values())

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._tables.values())


def upsert(table: Table, dialect: str) -> Executable:
    """INSERT … ON CONFLICT (primary key) DO UPDATE of every other column; executed with lists of rows."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    keys = _KEYS[table.name]
    changes = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
    return insert.on_conflict_do_update(index_elements=list(keys), set_=changes)
