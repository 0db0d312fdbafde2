"""What an earlier boot left reaches the plane under that boot's name, and is then gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from rubicon.v1 import sensor_service_pb2
from sensor.ship import earlier
from sensor.ship.backoff import Backoff
from sensor.ship.earlier import ship_earlier_boots
from sensor.ship.spool import Spool
from tests.sensor.ship.events import batch, numbers, stamp
from tests.sensor.ship.plane import Plane


def two_boots(folder: Path) -> Spool:
    for boot, first in (("boot-a", 1), ("boot-b", 100)):
        spool = Spool(folder, stamp, boot_id=boot)
        for number in range(first, first + 5):
            spool.append(batch(number))
        spool.close()
    spool = Spool(folder, stamp, boot_id="boot-c")
    spool.append(batch(1000))
    return spool


async def ship(spool: Spool, address: str) -> None:
    async with asyncio.timeout(20):
        await ship_earlier_boots(
            spool,
            address,
            lambda: sensor_service_pb2.Hello(host="h", boot_id="boot-c"),
            lambda boot: f"token-of-{boot}",
            stamp,
            Backoff(0.01, 0.02),
        )


async def test_every_earlier_boot_is_shipped_on_a_stream_of_its_own(tmp_path: Path) -> None:
    spool = two_boots(tmp_path / "spool")
    address = f"unix:{tmp_path}/plane.sock"
    plane = Plane()
    task = asyncio.create_task(ship(spool, address))
    await asyncio.sleep(0.1)  # no plane yet: it waits
    assert not task.done()
    await plane.start(address)
    await task
    assert sorted(hello.boot_id for hello in plane.hellos) == ["boot-a", "boot-b"]
    assert {data["authorization"] for data in plane.metadata} == {"Bearer token-of-boot-a", "Bearer token-of-boot-b"}
    assert sorted(plane.numbers) == [1, 2, 3, 4, 5, 100, 101, 102, 103, 104]
    assert spool.earlier_boots() == []
    assert numbers(spool) == [1000]
    spool.close()
    await plane.stop()


async def test_a_boot_that_is_refused_for_good_stays_on_disk_and_holds_up_nobody(tmp_path: Path) -> None:
    spool = two_boots(tmp_path / "spool")
    address = f"unix:{tmp_path}/plane.sock"
    plane = Plane()
    plane.refuse = (grpc.StatusCode.PERMISSION_DENIED, "HOST_MISMATCH")
    await plane.start(address)
    task = asyncio.create_task(ship(spool, address))
    await task
    assert len(spool.earlier_boots()) == 2
    spool.close()
    await plane.stop()


async def test_boots_without_a_plane_cannot_fill_the_disk_and_say_what_they_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "EARLIER_BYTES", 170_000)
    monkeypatch.setattr(earlier, "TRIMMED_BYTES", 20_000)
    folder = tmp_path / "spool"
    for boot in range(4):
        spool = Spool(folder, stamp, segment_bytes=8192, boot_id=f"boot-{boot}")
        for number in range(100):
            spool.append(batch(boot * 100 + number, padding=900))
        spool.close()
    spool = Spool(folder, stamp, boot_id="boot-now")
    assert sum(path.stat().st_size for path in folder.glob("boot-*/*.segment")) > 300_000
    plane = Plane()
    await plane.start(f"unix:{tmp_path}/plane.sock")
    await ship(spool, f"unix:{tmp_path}/plane.sock")
    told = sum(e.loss.count for b in plane.batches for e in b.events if e.HasField("loss"))
    got = [n for b in plane.batches for e in b.events if (n := e.record.sequence) and e.HasField("payload")]
    assert told > 100
    assert told + len(got) == 400
    assert sorted(got)[-100:] == list(range(300, 400))  # the newest boot is whole
    spool.close()
    await plane.stop()
