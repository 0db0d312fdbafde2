"""One transaction a group; nothing is forgotten when the disk says no."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.errors import StoreUnavailable
from controlplane.model import Agent, Boot
from controlplane.settings import StoreSettings
from controlplane.store import convert, schema, writer
from controlplane.store.events import Query
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2, event_pb2
from tests.controlplane.builders import HOST, Kernel, key
from tests.controlplane.stage import until

QUICK = StoreSettings(busy_timeout=0.05, give_up=0.4, retry=0.02, pending_events=10)
BOOT = Boot(HOST.host, HOST.boot_id)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path, QUICK)
    await opened.remember(BOOT, HOST.clock_offset_ns, coverage_pb2.Coverage())
    yield opened
    await opened.close()


def write(events: list[event_pb2.Event], acknowledged: int = 0) -> Write:
    return Write(1, HOST.clock_offset_ns, acknowledged, events)


def named(name: str, agent_id: str = "aaaa00000001") -> Write:
    made = Write()
    made.rows.put(schema.agents, convert.agent_row(Agent(agent_id, name), 0))
    return made


def sequences(store: Store) -> list[int]:
    runs = store.events.read(Query(), 0, store.writer.head)
    return [s.event.record.sequence for run in runs for s in run]


async def test_positions_rise_by_one_an_event(store: Store) -> None:
    kernel = Kernel()
    told: list[tuple[int, int]] = []
    store.writer.listeners.append(lambda position, write: told.append((position, len(write.events))))
    futures = [store.writer.submit(write([kernel.exec(key(1), "x") for _ in range(n)])) for n in (1, 0, 3, 2)]
    assert await asyncio.gather(*futures) == [0, 1, 1, 4]
    assert told == [(0, 1), (1, 0), (1, 3), (4, 2)]
    assert store.writer.head == 6
    assert sequences(store) == [1, 2, 3, 4, 5, 6]


async def test_head_after_reopening(tmp_path: Path, store: Store) -> None:
    kernel = Kernel()
    await store.writer.submit(write([kernel.exec(key(1), "x")] * 3, acknowledged=7))
    await store.close()
    again = Store(tmp_path, QUICK)
    assert again.writer.head == 3
    assert await again.remember(BOOT, 0, coverage_pb2.Coverage()) == (1, 7)
    assert again.number(BOOT) == 1
    await again.close()


@pytest.mark.parametrize("later", [0, 3], ids=["what the plane itself writes", "one of a spool begun anew"])
@pytest.mark.parametrize("together", [True, False], ids=["in one group", "in the next group"])
async def test_what_is_acknowledged_never_goes_back(tmp_path: Path, store: Store, later: int, together: bool) -> None:
    kernel = Kernel()
    first = store.writer.submit(write([kernel.exec(key(1), "x")], acknowledged=7))
    if not together:
        await first
    await asyncio.gather(first, store.writer.submit(write([kernel.exec(key(1), "y")], acknowledged=later)))
    assert await store.remember(BOOT, 0, coverage_pb2.Coverage()) == (1, 7)


async def test_the_newest_row_of_a_group_wins(store: Store) -> None:
    futures = [store.writer.submit(named(f"n{n}")) for n in range(5)]
    await asyncio.gather(*futures)
    found = store.entities.agent("aaaa00000001")
    assert found is not None
    assert found.name == "n4"
    assert store.entities.count(schema.agents) == 1


async def test_what_nobody_waits_for_waits_for_company(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE_S", 60.0)
    kernel = Kernel()
    patient = [store.writer.submit(replace(write([kernel.exec(key(1), "x")]), patient=True)) for _ in range(3)]
    await store.writer.commit(named("of one who waits, urgently"), urgent=True)
    assert not any(f.done() for f in patient)
    await store.writer.commit(named("of one who waits", "aaaa00000002"))
    assert all(f.done() for f in patient)
    many = [kernel.exec(key(1), "x") for _ in range(writer.SMALLEST)]
    await store.writer.submit(replace(write(many), patient=True))
    monkeypatch.setattr(writer, "PATIENCE_S", 0.05)
    await store.writer.submit(replace(write([kernel.exec(key(1), "x")]), patient=True))
    assert sequences(store) == list(range(1, writer.SMALLEST + 5))


async def test_locked_then_written_in_order(tmp_path: Path, store: Store) -> None:
    kernel = Kernel()
    lock = sqlite3.connect(tmp_path / "rubicon.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    futures = [store.writer.submit(write([kernel.exec(key(1), "x")])) for _ in range(3)]
    await until(lambda: store.writer.failure is not None, "it says that it cannot write")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.writer.commit(named("withdrawn"))
    assert not any(f.done() for f in futures)
    lock.execute("ROLLBACK")
    lock.close()
    await asyncio.gather(*futures)
    await store.writer.commit(named("other", "aaaa00000002"))
    assert sequences(store) == [1, 2, 3]
    assert store.writer.failure is None
    assert store.entities.agent("withdrawn") is None


async def test_room_is_bounded(tmp_path: Path, store: Store) -> None:
    kernel = Kernel()
    lock = sqlite3.connect(tmp_path / "rubicon.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    store.writer.submit(write([kernel.exec(key(1), "x") for _ in range(11)]))
    with pytest.raises(StoreUnavailable):
        await store.writer.room()
    lock.execute("ROLLBACK")
    lock.close()
    await until(lambda: store.writer.head == 11, "it is written")
    await store.writer.room()


async def test_closing_with_a_locked_database_acknowledges_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, QUICK)
    await store.remember(BOOT, 0, coverage_pb2.Coverage())
    lock = sqlite3.connect(tmp_path / "rubicon.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = store.writer.submit(write([Kernel().exec(key(1), "x")]))
    await store.close()
    assert not done.done()
    with pytest.raises(StoreUnavailable, match="stopping"):
        store.writer.submit(named("late"))
    lock.close()


async def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "rubicon.db").write_bytes(b"this is no database, but long enough to look like one" * 50)
    with pytest.raises(StoreUnavailable, match="not a database"):
        Store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="folder"):
        Store(tmp_path / "file")


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_cancel_that_comes_as_there_is_room_is_not_lost(store: Store, turns: int) -> None:
    """A sensor's stream that ends in that moment would wait for ever, and the host's next sensor with it."""

    async def take() -> None:
        while True:
            await store.writer.room()
            await asyncio.sleep(0)

    taking = asyncio.create_task(take())
    for _ in range(turns):
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking}, timeout=2)
    assert taking.cancelled()
