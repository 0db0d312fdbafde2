"""A plane that is killed again and again in mid-stream, and its sensor too: what was appended is stored, every record
of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from pathlib import Path

from rubicon.v1 import sensor_service_pb2
from sensor.ship.backoff import Backoff
from sensor.ship.spool import Spool
from sensor.ship.uplink import Uplink
from tests.sensor.ship import plane as plane_script
from tests.sensor.ship.events import batch, stamp

RECORDS = 3000


async def start_plane(address: str, store: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, plane_script.__file__, address, str(store), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"
    return process


async def ignore(command: sensor_service_pb2.Command) -> sensor_service_pb2.CommandResult:
    return sensor_service_pb2.CommandResult()


def stored(store: Path) -> list[int]:
    words = store.read_bytes().split() if store.exists() else []
    return [int(word[1:]) for word in words if word.startswith(b"r")]


async def test_no_record_is_lost_when_both_sides_are_killed_in_mid_stream(tmp_path: Path) -> None:
    store, chance = tmp_path / "stored", random.Random(4)
    address = f"unix:{tmp_path}/plane.sock"
    spool = Spool(tmp_path / "spool", stamp, segment_bytes=16_384)

    def connect() -> tuple[Uplink, asyncio.Task[None]]:
        uplink = Uplink(address, spool, lambda: sensor_service_pb2.Hello(host="h"), ignore, backoff=Backoff(0.01, 0.05))
        return uplink, asyncio.create_task(uplink.run())

    _, task = connect()
    plane = await start_plane(address, store)
    number = 0
    while number < RECORDS:
        count = min(chance.randint(1, 20), RECORDS - number)
        await asyncio.to_thread(spool.append, batch(number, count, padding=50))
        number += count
        if chance.random() < 0.02:
            plane.send_signal(signal.SIGKILL)
            await plane.wait()
            if chance.random() < 0.5:
                # The sensor dies as well: nothing is left of it but its files.
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                spool.close()
                spool = Spool(tmp_path / "spool", stamp, segment_bytes=16_384)
                _, task = connect()
            (tmp_path / "plane.sock").unlink(missing_ok=True)
            plane = await start_plane(address, store)
    try:
        async with asyncio.timeout(60):
            while spool.status().batches:
                await asyncio.sleep(0.02)
        assert set(stored(store)) == set(range(RECORDS))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        plane.kill()
        await plane.wait()
        spool.close()
