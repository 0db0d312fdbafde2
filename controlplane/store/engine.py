"""Opens the database: SQLite in WAL mode, every commit synced to disk, migrated to the newest schema.

An acknowledgement promises that a batch is durable, so `synchronous` is FULL (one fsync of the log a commit); the
writer pays it once for a group of batches. Sources: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from controlplane.errors import StoreUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"
"""Newest migration. Alembic is only imported when the database is behind it: it costs 0.1 s and 10 MB."""


def open_engine(folder: Path, busy_timeout: float) -> Engine:
    """The engine on folder/rubicon.db, migrated.

    Args:
        folder: made with mode 0700 when absent.
        busy_timeout: seconds that a statement waits for another's lock.

    Raises:
        StoreUnavailable: the file cannot be opened or written, or it is no database, or a newer version's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"cannot make the store's folder {folder}: {error.strerror}") from error
    engine = create_engine(
        f"sqlite:///{folder / 'rubicon.db'}", connect_args={"timeout": busy_timeout}, pool_size=4, max_overflow=12
    )

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864", "cache_size=-4096"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    try:
        _migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        raise unavailable(error) from error
    return engine


def unavailable(error: DBAPIError) -> StoreUnavailable:
    """The plane's error for what the driver says (locked, full, read-only, damaged)."""
    return StoreUnavailable(f"the plane's store cannot be used now: {error.orig}")


def revision(engine: Engine) -> str:
    """The migration that the database stands at; empty for a new one."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return ""
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def migrations() -> Config:
    """Alembic's configuration: where the migrations are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def _migrate(engine: Engine) -> None:
    if revision(engine) == HEAD:
        return
    from alembic import command
    from alembic.util.exc import CommandError

    config = migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreUnavailable(
                f"the plane's store was made by another version ({error})",
                "install the version that made it, or move the store's folder away",
            ) from None
