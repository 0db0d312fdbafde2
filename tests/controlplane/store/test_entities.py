"""Reading entities: what queries find, and that the schema is what the migrations make."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from controlplane.errors import StoreUnavailable
from controlplane.model import Boot, Changes
from controlplane.pipeline import Pipeline
from controlplane.store import convert, engine, schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2, process_pb2
from tests.controlplane.builders import AGENT, HOST, Kernel, key, tcp, tunnel


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path)
    await opened.remember(Boot(HOST.host, HOST.boot_id), HOST.clock_offset_ns, coverage_pb2.Coverage(kernel="6.18"))
    yield opened
    await opened.close()


async def keep(store: Store, changes: Changes) -> None:
    write = Write(1, HOST.clock_offset_ns, 1, changes.events)
    for table, make, entities in (
        (schema.agents, convert.agent_row, changes.agents),
        (schema.processes, convert.process_row, changes.processes),
        (schema.flows, convert.flow_row, changes.flows),
    ):
        for entity in entities:
            write.rows.put(table, make(entity, 1))  # type: ignore[operator]
    for alert in changes.alerts:
        write.rows.put(schema.alerts, convert.alert_row(convert.alert(alert)))
    await store.writer.submit(write)


async def test_migrations_make_the_schema(store: Store) -> None:
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    assert engine.revision(store._engine) == engine.HEAD


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(engine.migrations()).get_current_head() == engine.HEAD


async def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await Store(tmp_path / "newer").close()
    file = tmp_path / "newer" / "rubicon.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(StoreUnavailable, match="another version") as caught:
        Store(tmp_path / "newer")
    assert "install the version" in caught.value.hint
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


async def test_boots_and_coverage(store: Store) -> None:
    (boot,) = store.entities.boots()
    assert (boot.id, boot.host, boot.coverage.kernel) == (1, HOST.host, "6.18")


async def test_processes_and_flows_by_agent_pid_and_key(store: Store) -> None:
    kernel, pipeline = Kernel(), Pipeline()
    child = key(101)
    changes = pipeline.apply(HOST, [kernel.enrol(key(100)), kernel.fork(key(100), child), *tunnel(kernel, child)])
    await keep(store, changes)
    assert [p.id.pid for p in store.entities.processes(AGENT, all_=False)] == [100, 101]
    found = store.entities.process(1, 101, 101_000)
    assert found is not None
    assert found.exe == "/usr/bin/ssh"
    assert store.entities.process(1, 101, 7) is None
    assert [p.id.pid for p in store.entities.processes_of_pid(101)] == [101]
    (flow,) = store.entities.flows(AGENT)
    assert (flow.cookie, flow.destination_port) == (5, 443)
    await keep(store, pipeline.apply(HOST, [kernel.flow(child, "close", tcp(5, port=443)), kernel.exit(child)]))
    assert [p.id.pid for p in store.entities.processes(AGENT, all_=False)] == [100]
    assert not store.entities.flows(AGENT, open_only=True)
    assert len(store.entities.alerts(agents=[AGENT])) == 2


async def test_bytes_that_are_no_text_are_readable(store: Store) -> None:
    kernel, pipeline = Kernel(), Pipeline()
    await keep(store, pipeline.apply(HOST, [kernel.enrol(key(100)), kernel.exec(key(100), b"a\xffb", b"\x1b[31m")]))
    (process,) = store.entities.processes(AGENT, all_=True)
    assert list(process.argv) == ["a\\xffb", "\x1b[31m"], "escapes are the terminal's business, bytes are not lost"
    assert process_pb2.Process.FromString(process.SerializeToString()) == process


async def test_settled_alerts_are_those_whose_response_has_begun(store: Store) -> None:
    kernel, pipeline = Kernel(), Pipeline()
    changes = pipeline.apply(HOST, [kernel.enrol(key(100), on_alert="kill"), *tunnel(kernel, key(100))])
    await keep(store, changes)
    (wanted,) = changes.responses
    everything = {alert.id for alert in store.entities.alerts()}
    assert set(store.entities.settled_alerts([AGENT])) == everything - {wanted.alert_id}
