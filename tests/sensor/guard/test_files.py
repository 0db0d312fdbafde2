"""Who opens the daemons' files: refused when it is an agent's, by whatever way; nobody else waits for long."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2
from sensor.guard.files import Files
from sensor.guard.report import Report
from sensor.kernel.fanotify import Fanotify
from sensor.kernel.loader import Kernel
from tests.sensor.guard.agent import AGENT

pytestmark = pytest.mark.root
OPEN = """
import os, sys
for line in sys.stdin:
    try:
        os.close(os.open(line[:-1], os.O_RDONLY))
        print("ok", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""
EPERM, ENOENT = "1", "2"


class Opener:
    """A process that opens what it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", OPEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.open("/") == "ok", "it runs"

    def open(self, path: Path | str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture
def agent(kernel: Kernel) -> Iterator[Opener]:
    opener = Opener()
    task = kernel.task(opener.process.pid)
    assert task
    assert kernel.tags.add(opener.process.pid, AGENT, task.start_time, 0)
    yield opener
    opener.end()


@pytest.fixture
def stranger() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.end()


@pytest.fixture
def files(kernel: Kernel, folder: Path, told: list[event_pb2.Event]) -> Iterator[Files]:
    guarded = Files(folder, folder / "log", kernel.tags, Report(told.append))
    guarded.start()
    yield guarded
    guarded.stop()


def test_an_agent_is_refused_and_told_of(
    files: Files, agent: Opener, stranger: Opener, folder: Path, told: list[event_pb2.Event]
) -> None:
    for path in (folder / "token.key", folder / "plane/rubicon.db", folder / "plane", folder):
        assert agent.open(path) == EPERM, path
        assert stranger.open(path) == "ok", path
    assert [event.tamper.action for event in told] == ["file-open"] * 4
    assert told[0].tamper.detail == f"opened {folder / 'token.key'}; refused"
    assert told[0].process.pid == agent.process.pid
    assert told[0].agent_id == f"{AGENT:012x}"
    assert files.fact.state == "full"
    assert files.fact.dies_with_sensor


def test_what_is_not_guarded_is_nobodys_business(
    files: Files, agent: Opener, folder: Path, told: list[event_pb2.Event]
) -> None:
    assert agent.open(folder / "log/plane.log") == "ok", "the supervisor's own"
    assert agent.open(folder.parent / "beside") == "ok"
    assert told == []


def test_the_same_opening_is_told_once(files: Files, agent: Opener, folder: Path, told: list[event_pb2.Event]) -> None:
    for _ in range(50):
        assert agent.open(folder / "token.key") == EPERM
    assert len(told) == 1


def test_a_file_that_is_made_replaced_or_renamed_is_guarded_at_once(files: Files, agent: Opener, folder: Path) -> None:
    (folder / "plane/rubicon.db-wal").write_text("new")
    assert agent.open(folder / "plane/rubicon.db-wal") == EPERM
    (folder / "agents.partial").write_text("draft")
    (folder / "agents.partial").rename(folder / "agents.json")
    assert agent.open(folder / "agents.json") == EPERM
    (folder / "agents.json").rename(folder.parent / "moved")
    assert agent.open(folder.parent / "moved") == EPERM, "it is the inode that counts"


def test_a_file_in_a_new_folder_is_guarded_from_the_next_look_on(files: Files, agent: Opener, folder: Path) -> None:
    (folder / "audit").mkdir()
    (folder / "audit/key").write_text("secret")
    files.look()
    assert agent.open(folder / "audit/key") == EPERM
    (folder / "audit/other").write_text("secret")
    assert agent.open(folder / "audit/other") == EPERM


def test_other_names_of_an_inode_are_refused(files: Files, agent: Opener, folder: Path) -> None:
    (folder.parent / "hard").hardlink_to(folder / "token.key")
    (folder.parent / "soft").symlink_to(folder / "token.key")
    descriptor = os.open(folder / "token.key", os.O_PATH)
    try:
        by_descriptor = f"/proc/{os.getpid()}/fd/{descriptor}"
        for path in (folder.parent / "hard", folder.parent / "soft", by_descriptor):
            assert agent.open(path) == EPERM, path
    finally:
        os.close(descriptor)


def test_when_the_guard_ends_everybody_goes_on(files: Files, agent: Opener, folder: Path) -> None:
    assert agent.open(folder / "token.key") == EPERM
    files.stop()
    assert agent.open(folder / "token.key") == "ok"
    files.start()
    assert agent.open(folder / "token.key") == EPERM


def test_who_waits_goes_on_when_nobody_is_left_to_answer(folder: Path, stranger: Opener) -> None:
    """As when the sensor is killed."""
    group = Fanotify()
    group.mark_file(str(folder / "token.key"))
    assert stranger.process.stdin
    assert stranger.process.stdout
    stranger.process.stdin.write(f"{folder / 'token.key'}\n")
    stranger.process.stdin.flush()
    os.set_blocking(group.fd, True)
    [waiting] = group.waiting()
    assert waiting.pid == stranger.process.pid
    os.close(waiting.fd)
    group.close()
    assert stranger.process.stdout.readline() == "ok\n"


def test_a_kernel_that_cannot_is_said(
    kernel: Kernel, folder: Path, agent: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of one that was built without CONFIG_FANOTIFY_ACCESS_PERMISSIONS."""
    monkeypatch.setattr("sensor.kernel.fanotify._CLASS_CONTENT", 0x8 | 0x4)
    guarded = Files(folder, folder / "log", kernel.tags, Report(lambda event: None))
    guarded.start()
    assert guarded.fact.state == "missing"
    assert "Invalid argument" in guarded.fact.missing
    assert agent.open(folder / "token.key") == "ok"
    guarded.look()
    guarded.stop()


def test_many_at_once_are_answered(files: Files, agent: Opener, folder: Path) -> None:
    openers = [Opener() for _ in range(8)]
    for _ in range(100):
        assert {opener.open(folder / "plane/rubicon.db") for opener in openers} == {"ok"}
    assert agent.open(folder / "plane/rubicon.db") == EPERM
    for opener in openers:
        opener.end()
