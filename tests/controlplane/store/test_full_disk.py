"""A full disk: nothing is acknowledged, nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A file system is only full for whoever mounts a small one: in a process and a mount namespace of its own.
SCRIPT = """
import asyncio, os, pathlib, sys
from controlplane.model import Boot
from controlplane.settings import StoreSettings
from controlplane.store.events import Query
from controlplane.store.store import Store
from controlplane.store.writer import Write
from rubicon.v1 import coverage_pb2, event_pb2

folder = pathlib.Path(sys.argv[1])

def event(n):
    record = event_pb2.RecordId(epoch=1, sequence=n)
    return event_pb2.Event(record=record, time_ns=n, payload=event_pb2.Payload(data=os.urandom(65536)))

async def main():
    store = Store(folder / "store", StoreSettings(busy_timeout=0.1, give_up=1, retry=0.05))
    number, _ = await store.remember(Boot("h", "b"), 0, coverage_pb2.Coverage())
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    futures, n = [], 0
    while store.writer.failure is None:
        n += 1
        futures.append(store.writer.submit(Write(number, 0, n, [event(n)])))
        await asyncio.sleep(0.005)
        assert n < 2000
    assert "full" in str(store.writer.failure), store.writer.failure
    waiting = [f for f in futures if not f.done()]
    assert waiting
    ballast.unlink()
    await asyncio.wait_for(asyncio.gather(*futures), 20)
    assert store.writer.failure is None
    stored = [s.event.record.sequence for run in store.events.read(Query(), 0, store.writer.head) for s in run]
    assert stored == list(range(1, n + 1)), (len(stored), n)
    await store.close()
    print("all", n)

asyncio.run(main())
"""


@pytest.mark.root
def test_full_disk(tmp_path: Path) -> None:
    script = tmp_path / "fill.py"
    script.write_text(SCRIPT)
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"mount -t tmpfs -o size=16m none {disk} && exec {sys.executable} {script} {disk}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "all" in done.stdout
