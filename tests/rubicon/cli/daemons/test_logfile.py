"""Logs of the daemons: they do not grow without end, and nobody looks for them where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rubicon.cli.daemons import logfile

LOOK = "from rubicon.cli.daemons import logfile; print(logfile.stderr_is_journal())"


def test_a_long_log_begins_anew_and_the_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "sensor.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        logfile.bound(log, 400)
        assert log.stat().st_size == 400, "not longer than it may be"
        writer.write(b"last\n")
        logfile.bound(log, 400)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert logfile.earlier(log).read_bytes() == b"old\n" * 100 + b"last\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["sensor.log", "sensor.log.1"]


def test_the_one_before_the_one_before_goes(tmp_path: Path) -> None:
    log = tmp_path / "plane.log"
    for text in ("first\n", "second\n"):
        log.write_text(text)
        logfile.bound(log, 1)
    assert logfile.earlier(log).read_text() == "second\n"


def test_a_log_is_cut_also_where_it_cannot_be_kept(tmp_path: Path) -> None:
    log = tmp_path / "plane.log"
    log.write_text("much")
    logfile.earlier(log).mkdir()  # so the copy cannot take its place
    logfile.bound(log, 1)
    assert log.read_text() == ""
    assert not log.with_name("plane.log.partial").exists()


def test_a_log_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    logfile.bound(tmp_path / "sensor.log", 1)
    assert not list(tmp_path.iterdir())


def journal(stream: str, stderr: int) -> str:
    environment = {**os.environ, "JOURNAL_STREAM": stream}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, stdout=subprocess.PIPE, stderr=stderr, check=True
    )
    return done.stdout.decode().strip()


def test_the_journal_is_known_by_its_inode() -> None:
    read, write = os.pipe()
    try:
        found = os.fstat(write)
        assert journal(f"{found.st_dev}:{found.st_ino}", write) == "True"
        assert journal(f"{found.st_dev}:{found.st_ino}", subprocess.DEVNULL) == "False", (
            "inherited, but stderr is another"
        )
        assert journal("", write) == "False"
    finally:
        os.close(read)
        os.close(write)
