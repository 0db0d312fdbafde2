"""The format of stored events, its index, and compaction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from controlplane.model import Boot
from controlplane.store import schema, segments
from controlplane.store.compact import Compactor
from controlplane.store.events import Query
from controlplane.store.segments import Index, Part
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2, event_pb2
from tests.controlplane.builders import HOST, Kernel, key, tcp


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path)
    await opened.remember(Boot(HOST.host, HOST.boot_id), HOST.clock_offset_ns, coverage_pb2.Coverage())
    await opened.remember(Boot("paris", HOST.boot_id), 0, coverage_pb2.Coverage())
    yield opened
    await opened.close()


def all_of(store: Store, query: Query, start: int = 0) -> list[tuple[int, int]]:
    runs = store.events.read(query, start, store.writer.head)
    return [(s.position, s.event.record.sequence) for run in runs for s in run]


def rows(store: Store) -> list[tuple[int, int, int]]:
    columns = schema.segments.c
    statement = select(columns.first_position, columns.events, columns.level).order_by(columns.first_position)
    with store._engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def test_parts_survive_the_round() -> None:
    kernel = Kernel()
    parts = [
        Part(1, 5, [kernel.exec(key(1), b"\xff", "a") for _ in range(3)]),
        Part(2, -7, [kernel.exit(key(1))]),
        Part(1, 0, [kernel.fork(key(1), key(2)) for _ in range(2)]),
    ]
    data = segments.decompress(segments.compress(segments.encode(parts)))
    back = list(segments.decode(data))
    assert [(o, p.boot, p.clock_offset_ns, list(p.events)) for o, p in back] == [
        (0, 1, 5, parts[0].events),
        (3, 2, -7, parts[1].events),
        (4, 1, 0, parts[2].events),
    ]
    assert [offset for offset, _ in segments.decode(data, skip=3)] == [3, 4]
    assert [offset for offset, _ in segments.decode(data, skip=2)] == [0, 3, 4]


def test_index() -> None:
    kernel, other = Kernel(), Kernel("bbbb00000001")
    index = Index()
    index.add(Part(1, 100, [kernel.exec(key(1), "x", cpu=0), other.exit(key(2))]))
    index.add(Part(2, 0, []))
    assert (index.events, index.agents) == (2, {("00000000a001", 1), ("bbbb00000001", 1)})
    assert index.kinds == segments.kinds_mask(["exec", "exit"])
    assert (index.first_time_ns, index.last_time_ns) == (1_000_001_100, 1_000_001_100)


def test_damage_is_noticed() -> None:
    blob = bytearray(segments.compress(segments.encode([Part(1, 0, [Kernel().exec(key(1), os.urandom(500))])])))
    blob[len(blob) // 2] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        segments.decompress(bytes(blob))


def test_every_kind_fits_the_bitmap() -> None:
    assert max(segments.KINDS.values()) < 63


async def test_compaction_keeps_positions_boots_and_what_queries_find(store: Store) -> None:
    kernel, other = Kernel(), Kernel("bbbb00000001", epoch=78)
    for n in range(40):
        await store.writer.submit(Write(1, HOST.clock_offset_ns, n, [kernel.exec(key(1), "x"), kernel.exit(key(1))]))
        if n % 10 == 0:
            await store.writer.submit(Write(2, 9, n, [other.exec(key(2), "y")]))
    queries = [Query(), Query(kinds=frozenset({"exit"})), Query(agents=frozenset({"bbbb00000001"}))]
    before = [all_of(store, query) for query in queries]
    middle = all_of(store, Query(), start=37)
    compactor = Compactor(store._engine, 30)
    steps = []
    while joined := await asyncio.to_thread(compactor.step, all_=True):
        steps.append(joined)
    assert len(rows(store)) == len(steps) < 5
    assert {level for _, _, level in rows(store)} == {1}
    assert sum(events for _, events, _ in rows(store)) == 84
    assert [all_of(store, query) for query in queries] == before
    assert all_of(store, Query(), start=37) == middle
    boots = {s.boot for run in store.events.read(queries[2], 0, 84) for s in run}
    assert boots == {2}


async def test_young_short_runs_wait_and_old_ones_do_not(store: Store) -> None:
    kernel = Kernel()
    for _ in range(3):
        await store.writer.submit(Write(1, 0, 0, [kernel.exec(key(1), "x")]))
    assert not store.compactor.step(now_ns=kernel.now)
    assert store.compactor.step(now_ns=kernel.now + 3600 * 10**9) == 3
    assert not store.compactor.step(now_ns=kernel.now + 3600 * 10**9)


async def test_events_cost_little_on_disk(store: Store, tmp_path: Path) -> None:
    """The bar: 120 bytes an event on average, with what a busy agent does (facts.md: 60 B an event on the wire)."""
    kernel = Kernel()
    total = 0
    for n in range(200):
        batch: list[event_pb2.Event] = []
        for i in range(10):
            process = key(1000 + n * 10 + i)
            flow = tcp(n * 10 + i + 1)
            batch += [
                kernel.fork(key(1), process),
                kernel.exec(
                    process, "gcc", "-O2", "-c", f"src/file{n}_{i}.c", "-o", f"build/file{n}_{i}.o", cwd="/src"
                ),
                kernel.flow(process, "connect", flow),
                kernel.flow(process, "establish", flow),
                *(kernel.flow(process, "packet", flow, length=100 + j, index=j) for j in range(4)),
                kernel.flow(process, "close", flow, bytes_sent=1000 + i, bytes_received=i),
                kernel.exit(process),
            ]
        total += len(batch)
        await store.writer.submit(Write(1, HOST.clock_offset_ns, n, batch))
    while await asyncio.to_thread(store.compactor.step, all_=True):
        pass
    with store._engine.connect() as connection:
        stored = sum(len(data) for (data,) in connection.execute(select(schema.segments.c.data)))
    assert stored / total < 60
