"""The collector lets a stop go first, and not for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sensor.collect import collector
from tests.sensor.collect import records
from tests.sensor.collect.test_collector import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


async def test_nothing_is_read_while_a_stop_is_under_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "YIELD_SECONDS", 60.0)
    stopping = True
    bench.collector.yield_to(lambda: stopping)
    async with bench.running():
        bench.kernel.ring.put([records.fork(sequence=1)])
        await asyncio.sleep(0.1)
        assert bench.events() == []
        stopping = False
        await bench.until(lambda: bench.kernel.ring.committed == 1)
    assert len(bench.events()) == 1


async def test_a_stop_that_does_not_end_keeps_nothing_in_the_ring(bench: Bench) -> None:
    bench.collector.yield_to(lambda: True)
    async with bench.running():
        bench.kernel.ring.put(records.fork(sequence=n) for n in range(2500))
        await bench.until(lambda: bench.kernel.ring.committed == 2500)
