"""The chain under load, with a database that is locked or full, and with a plane that is killed in the middle of a write."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.audit import leftover
from controlplane.audit.flood import MINUTE, ONE_BY_ONE, Flood
from controlplane.audit.record import Deed
from controlplane.settings import AuditSettings
from rubicon.v1.audit_chain import GENESIS
from tests.controlplane.audit.desk import SETTINGS, WHO, Desk, Hand, desk
from tests.controlplane.stage import until

KILL = Deed("kill", "agent x", "00000000a001", "because")


def chained(opened: Desk) -> list[str]:
    """Targets, in order; holds that the chain has no gap and no break."""
    bodies = opened.bodies()
    assert [body["sequence"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert bodies[0]["previous"] == GENESIS
    assert opened.check().faults == []
    return [body["target"] for body in bodies]


def locked(folder: Path) -> sqlite3.Connection:
    lock = sqlite3.connect(folder / "store" / "rubicon.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    return lock


async def test_a_request_and_its_result(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        place = opened.audit.requested(WHO, KILL)
        opened.audit.result(WHO, KILL, place, "verified", "2 processes killed")
        await opened.audit.settle()
        asked, done = opened.bodies()[-2:]
        assert (asked["phase"], asked["outcome"], asked["request"]) == ("requested", "", 0)
        assert (done["phase"], done["outcome"], done["request"]) == ("result", "verified", place)
        assert done["previous"] == Hand(tmp_path).hash(place)
        for name in ("identity", "action", "target", "agent", "reason"):
            assert asked[name] == done[name] != ""


async def test_a_hundred_at_once_are_one_chain(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:

        async def act(number: int) -> None:
            deed = Deed("kill", f"agent {number}")
            place = opened.audit.requested(WHO, deed)
            await asyncio.sleep(random.random() / 50)
            await opened.audit.settle()
            opened.audit.result(WHO, deed, place, "ok")

        await asyncio.gather(*(act(number) for number in range(100)))
        await opened.audit.settle()
        targets = chained(opened)
        assert sorted(targets[1:]) == sorted(2 * [f"agent {number}" for number in range(100)])
        for body in opened.bodies():
            if body["request"]:
                assert opened.bodies()[body["request"] - 1]["target"] == body["target"]


async def test_it_is_signed_after_so_many_records_or_so_long(tmp_path: Path) -> None:
    async with desk(tmp_path, AuditSettings(checkpoint_records=5, checkpoint_after=60)) as opened:
        await opened.write(4)
        await until(lambda: len(opened.store.audit.checkpoints()) == 1, "a checkpoint after 5 records")
        await opened.write(4)
        assert len(opened.store.audit.checkpoints()) == 1
    async with desk(tmp_path, AuditSettings(checkpoint_records=500, checkpoint_after=0.05)) as opened:
        assert len(opened.store.audit.checkpoints()) == 2, "and at an orderly stop"
        assert opened.check().covered == 9
        await opened.write(1)
        await until(lambda: len(opened.store.audit.checkpoints()) == 3, "a checkpoint after 0.05 s")
        await asyncio.sleep(0.2)
        assert len(opened.store.audit.checkpoints()) == 3, "none where nothing is new"
        assert opened.store.audit.checkpoints() == opened.audit.notary.read()


async def test_what_the_disk_does_not_take_now_it_gets_later(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        lock = locked(tmp_path)
        began = time.monotonic()
        place = opened.audit.requested(WHO, KILL)
        opened.audit.result(WHO, KILL, place, "verified")
        assert time.monotonic() - began < 0.5, "nobody waits for it"
        assert not await opened.audit.settle(0.2)
        assert await opened.audit.checkpoint() is None or opened.store.audit.head()[0] == 1
        lock.execute("ROLLBACK")
        lock.close()
        assert await opened.audit.settle()
        assert chained(opened)[-2:] == ["agent x", "agent x"]


async def test_what_still_waits_when_the_plane_stops_is_written_at_the_next_start(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        await opened.write(3)
        lock = locked(tmp_path)
        opened.audit.requested(WHO, KILL)
    assert (tmp_path / leftover.FILE).stat().st_mode & 0o777 == 0o600
    lock.execute("ROLLBACK")
    lock.close()
    async with desk(tmp_path) as opened:
        last = opened.bodies()[-1]
        assert (last["target"], last["phase"], last["identity"]) == ("agent x", "requested", WHO)
        assert "written at the next start" in last["detail"]
        await until(lambda: not (tmp_path / leftover.FILE).exists(), "the file is gone")
        chained(opened)
    async with desk(tmp_path) as opened:
        assert chained(opened).count("agent x") == 1


async def test_what_waited_and_was_written_after_all_is_not_written_twice(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        await opened.write(3)
        data = [bytes(row.body) for row in opened.store.audit.run(2, 10)]
    leftover.write(tmp_path, [*data, b"{half a li"])
    async with desk(tmp_path) as opened:
        assert len(chained(opened)) == 4


async def test_more_than_may_wait_is_counted_and_the_count_is_kept(tmp_path: Path) -> None:
    async with desk(tmp_path, AuditSettings(pending=3, stop_grace=0.2)) as opened:
        lock = locked(tmp_path)
        places = [opened.audit.requested(WHO, Deed("kill", f"agent {number}")) for number in range(10)]
        assert [place > 0 for place in places] == [True] * 3 + [False] * 7
        lock.execute("ROLLBACK")
        lock.close()
        await opened.audit.settle()
        opened.audit.requested(WHO, KILL)
        opened.audit.requested(WHO, KILL)
        await opened.audit.settle()
        assert chained(opened)[1:] == ["agent 0", "agent 1", "agent 2", "agent x", "agent x"]
        first, second = opened.bodies()[-2:]
        assert first["detail"] == "7 records before this one are only in the plane's log"
        assert second["detail"] == ""


async def test_a_file_of_checkpoints_that_cannot_be_written(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        await opened.write(2)
        await opened.audit.checkpoint()
        kept = opened.audit.notary.file.rename(tmp_path / "aside")
        opened.audit.notary.file.mkdir()
        await opened.write(2)
        assert await opened.audit.checkpoint() is None
        assert len(opened.store.audit.checkpoints()) == 1, "what the file does not have, the table has not"
        opened.audit.notary.file.rmdir()
        kept.rename(opened.audit.notary.file)
        assert await opened.audit.checkpoint()
        chained(opened)


def test_a_flood_of_refusals_is_counted() -> None:
    now = [0.0]
    flood = Flood(lambda: now[0])
    alike = [flood.counts(f"uid 1000 pid {pid} @rome", KILL, "CALLER_IS_AGENT") for pid in range(ONE_BY_ONE + 50)]
    assert alike == [False] * ONE_BY_ONE + [True] * 50
    assert not flood.counts("uid 1001 pid 5 @rome", KILL, "CALLER_IS_AGENT")
    assert not flood.counts("uid 1000 pid 5 @rome", KILL, "PERMISSION_DENIED")
    assert flood.over() == []
    now[0] = MINUTE
    ((user, deed, outcome, words),) = flood.over()
    assert (user, deed.action, outcome) == ("uid 1000", "kill", "CALLER_IS_AGENT")
    assert words == f"50 more like the {ONE_BY_ONE} before, within 60 s"
    assert flood.over() == []
    assert not flood.counts("uid 1000 pid 5 @rome", KILL, "CALLER_IS_AGENT")


async def test_long_and_odd_texts_are_cut_and_still_one_chain(tmp_path: Path) -> None:
    async with desk(tmp_path) as opened:
        for text in ("x" * 100_000, "\x00\x1b[2J\u202e", "\U0001f480" * 9000, "", '"}\n{"'):
            opened.audit.result(text, Deed(text, text, text, text, text, text), 0, text, text)
        await opened.audit.settle()
        assert chained(opened)[1] == "x" * 4096
        assert sum(len(bytes(row.body)) for row in opened.store.audit.run(0, 100)) < 200_000


WRITER = """
import asyncio, sys
from pathlib import Path
import structlog
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
from tests.controlplane.audit.desk import Desk

async def main():
    opened = Desk(Path(sys.argv[1]))
    while True:
        await opened.write(3)
        print(opened.store.audit.head()[0], flush=True)

asyncio.run(main())
"""


async def test_killed_in_the_middle_of_a_write_is_no_false_alarm(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    chance = random.Random(4)
    durable = 0
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            durable = int(writer.stdout.readline())
            await asyncio.sleep(chance.random() / 4)
            writer.send_signal(signal.SIGKILL)
            said = writer.stdout.read().splitlines()
            durable = max([durable, *(int(line) for line in said if line)])
        async with desk(tmp_path, SETTINGS) as opened:
            report = opened.check()
            assert report.faults == []
            assert report.records == report.last >= durable, "what was said to be durable is there"
            assert not [body for body in opened.bodies() if body["action"] == "damage"]


FULL = """
import asyncio, sys
from pathlib import Path
import structlog
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
from controlplane.audit.record import Deed
from tests.controlplane.audit.desk import WHO, Desk

folder = Path(sys.argv[1])

async def main():
    opened = Desk(folder)
    await opened.write(3)
    ballast = (folder / "ballast").open("wb", buffering=0)
    try:
        while ballast.write(bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == 28
    for number in range(2000):
        opened.audit.requested(WHO, Deed("kill", f"agent {number}", reason="x" * 4000))
        if number % 100 == 0:
            await asyncio.sleep(0.05)
    assert not await opened.audit.settle(0.5), "the disk is full"
    await opened.audit.checkpoint()
    ballast.close()
    (folder / "ballast").unlink()
    assert await opened.audit.settle(20)
    await opened.audit.checkpoint()
    report = opened.check()
    assert report.faults == [], report.faults
    assert report.last == report.covered == 2004, report
    await opened.stop()
    print("whole")

asyncio.run(main())
"""


@pytest.mark.root
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    script, disk = tmp_path / "full.py", tmp_path / "disk"
    script.write_text(FULL)
    disk.mkdir()
    command = f"mount -t tmpfs -o size=24m none {disk} && exec {sys.executable} {script} {disk}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.stdout.strip().endswith("whole"), done.stderr + done.stdout
