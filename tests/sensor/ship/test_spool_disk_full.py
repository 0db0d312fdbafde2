"""A disk that is really full: a 16 MB tmpfs in a private mount namespace."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
from structlog.testing import capture_logs
from sensor.collect.collector import Collector
from sensor.collect.identity import SensorRecords
from sensor.errors import SpoolFull
from sensor.ship.spool import Spool
from tests.sensor.collect import records
from tests.sensor.collect.ring import MemoryKernel
from tests.sensor.ship.events import batch, numbers, stamp

disk = Path(sys.argv[1])

def fill():
    with open(disk / "ballast", "wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass

def plain():
    spool = Spool(disk / "spool", stamp)
    spool.append(batch(1))
    fill()
    number = 2
    try:
        while True:
            spool.append(batch(number, padding=900))
            number += 1
    except SpoolFull as error:
        message = str(error)
    whole = numbers(spool)
    again = 0
    for _ in range(3):
        try:
            spool.append(batch(number, padding=9000))
        except SpoolFull:
            again += 1
    (disk / "ballast").unlink()
    spool.append(batch(number))
    after = numbers(spool)
    spool.close()
    spool = Spool(disk / "spool", stamp)
    reopened = numbers(spool)
    spool.ack(spool.last_sequence)
    spool.close()
    return message, whole == list(range(1, number)), again, after == list(range(1, number + 1)), reopened == after

def first_write():
    fill()
    try:
        spool = Spool(disk / "second", stamp)
        spool.append(batch(1, padding=5000))
        refused = False
    except Exception as error:
        refused = type(error).__name__
    (disk / "ballast").unlink()
    return refused

async def collected():
    kernel, identity = MemoryKernel(), SensorRecords()
    spool = Spool(disk / "third", identity.stamp)
    collector = Collector(kernel, spool, identity)
    task = asyncio.create_task(collector.run())
    kernel.ring.put([records.fork(sequence=1)])
    while kernel.ring.committed < 1:
        await asyncio.sleep(0.01)
    fill()
    kernel.ring.put(records.execute(argv=b"x" * 16000, sequence=n) for n in range(2, 400))
    await asyncio.sleep(0.5)
    held = kernel.ring.committed
    (disk / "ballast").unlink()
    while kernel.ring.committed < 399:
        await asyncio.sleep(0.01)
    collector.stop()
    await task
    got = numbers(spool)
    return held < 399, got == list(range(1, 400)), got[:3]

with capture_logs() as logs:
    result = {"plain": plain(), "first_write": first_write()}
    result["collected"] = asyncio.run(asyncio.wait_for(collected(), 30))
result["logs"] = [log["event"] for log in logs if log["event"].startswith("spool_")]
print(json.dumps(result))
"""


@pytest.mark.root
def test_a_full_disk_refuses_cleanly_and_recovers_by_itself() -> None:
    mount = 'set -e; d=$(mktemp -d); mount -t tmpfs -o size=16m tmpfs "$d"; exec "$0" -c "$1" "$d"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    message, whole, again, after, reopened = result["plain"]
    assert "free space" in message
    assert (whole, again, after, reopened) == (True, 3, True, True)
    assert result["first_write"] in ("SpoolFull", "SpoolError")
    assert result["collected"][:2] == [True, True], result["collected"]
    assert result["logs"].count("spool_full") == 1
    assert "spool_recovered" in result["logs"]
