"""A store as an earlier version made it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from controlplane.store import engine


def store_at(folder: Path, revision: str) -> Path:
    """Make one that stands at a revision, with nothing in it; its database file."""
    folder.mkdir()
    config = engine.migrations()
    database = create_engine(f"sqlite:///{folder / 'rubicon.db'}")
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    database.dispose()
    return folder / "rubicon.db"
