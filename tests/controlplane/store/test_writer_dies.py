"""A defect ends the writer: whoever waits learns it, and the plane ends, to be started anew with what is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from controlplane.errors import StoreUnavailable
from controlplane.model import Agent, Boot
from controlplane.server import Plane, serve
from controlplane.store import convert, schema
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2
from tests.controlplane.builders import HOST, Kernel, key
from tests.controlplane.stage import Stage, until


def poison() -> Write:
    """No column holds its number: the driver raises OverflowError, which is no DBAPIError."""
    made = Write()
    made.rows.put(schema.agents, {**convert.agent_row(Agent("aaaa00000001", "x"), 0), "started_ns": 1 << 70})
    return made


def twice() -> Write:
    """A number that is taken: IntegrityError, which would come for ever."""
    made = Write()
    made.rows.put(schema.audit_records, dict.fromkeys(schema.audit_records.columns.keys()))
    return made


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path)
    await opened.remember(Boot(HOST.host, HOST.boot_id), HOST.clock_offset_ns, coverage_pb2.Coverage())
    yield opened
    await opened.close()


@pytest.mark.parametrize("bad", [poison, twice], ids=["no DBAPIError", "a defect that the driver names"])
async def test_who_waits_and_who_comes_later_is_told(store: Store, bad: object) -> None:
    kernel = Kernel()
    before = store.writer.submit(Write(1, 0, 1, [kernel.exec(key(1), "x")]))
    assert await before == 0
    failing = asyncio.create_task(store.writer.commit(bad()))  # type: ignore[operator]
    await asyncio.sleep(0)
    behind = store.writer.submit(Write(1, 0, 2, [kernel.exec(key(1), "x")]))
    with pytest.raises(StoreUnavailable, match="defect"):
        await failing
    assert store.writer.died.is_set()
    for late in (behind, store.writer.commit(Write()), store.writer.room()):
        with pytest.raises(StoreUnavailable, match="defect"):
            await late


async def test_a_listener_that_fails_keeps_nobody_waiting(store: Store) -> None:
    def fail(_: int, __: Write) -> None:
        raise RuntimeError("a listener's defect")

    told: list[int] = []
    store.writer.listeners += [fail, lambda position, _: told.append(position)]
    kernel = Kernel()
    futures = [store.writer.submit(Write(1, 0, n, [kernel.exec(key(1), "x")])) for n in (1, 2, 3)]
    assert await asyncio.gather(*futures) == [0, 1, 2]
    assert told == [0, 1, 2]


async def test_the_plane_ends_and_the_next_one_takes_what_was_not_acknowledged(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.plane = Plane(stage.socket, tmp_path / "store", stage.key)
    serving = asyncio.create_task(serve(stage.plane))
    await until(stage.socket.exists, "it listens")
    await stage.plane.restored
    kernel = Kernel()
    link = await stage.connect()
    await link.deliver([kernel.enrol(key(1)), kernel.exec(key(1), "x")])
    stage.plane.store.writer.submit(poison())
    lost = [kernel.exec(key(1), "y")]
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the stream may have ended already
        await link.send(lost, sequence=2)
    with pytest.raises(StoreUnavailable, match="defect"):
        async with asyncio.timeout(40):
            await serving
    await link.close()
    stage.links.clear()
    async with stage:
        again = await stage.connect(first_sequence=2)
        await again.deliver(lost, sequence=2)
        assert stage.plane.store.writer.head == 3
