"""What an earlier boot left reaches the plane under that boot's name, and is then gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from rubicon.v1 import sensor_service_pb2
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
