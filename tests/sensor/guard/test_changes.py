"""Changes of the daemons' files that open nothing: told with who made them, also when that one has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2
from sensor.collect.clock import boottime_ns
from sensor.guard.changes import ENDED, Changes
from sensor.guard.report import Report
from sensor.kernel.loader import Kernel
from tests.needs import KERNEL
from tests.sensor.guard.agent import AGENT

pytestmark = pytest.mark.root


@pytest.fixture
def changes(kernel: Kernel, folder: Path, told: list[event_pb2.Event]) -> Iterator[Changes]:
    watched = Changes(folder, folder / "log", kernel.tags, Report(told.append))
    watched.start()
    assert not watched.refused
    yield watched
    watched.stop()


def agent_does(kernel: Kernel, *command: str) -> event_pb2.Event:
    """A command of an agent's process; its exit, as the collector shows it."""
    with subprocess.Popen(
        ["sh", "-c", 'echo; read _; exec "$@"', "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        task = kernel.task(child.pid)
        assert task
        assert kernel.tags.add(child.pid, AGENT, task.start_time, 0)
        child.communicate(b"\n", timeout=30)
    event = event_pb2.Event(agent_id=f"{AGENT:012x}")
    event.process.pid, event.process.start_time_ns = child.pid, task.start_time
    event.exit.status = 0
    event.time_ns = boottime_ns()
    return event


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("rm", "token.key"), ["removed {}/token.key"]),
        (("mv", "token.key", "../gone"), ["moved away {}/token.key"]),
        (("mv", "../forged", "token.key"), ["moved something to {}/token.key"]),
        (("ln", "../forged", "other.key"), ["made {}/other.key"]),
        (
            ("python3", "-c", "import os; os.truncate('plane/rubicon.db', 0)"),
            ["wrote or cut short {}/plane/rubicon.db"],
        ),
        (("mv", "plane/rubicon.db", "."), ["moved away {}/plane/rubicon.db", "moved something to {}/rubicon.db"]),
    ],
)
def test_a_change_names_who_made_it(
    kernel: Kernel,
    changes: Changes,
    folder: Path,
    told: list[event_pb2.Event],
    command: tuple[str, ...],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    ended = agent_does(kernel, *command)
    changes.look()
    assert told == [], "who has ended is not known yet"
    changes.saw_exit(ended)
    changes.look()
    assert sorted(event.tamper.detail for event in told) == sorted(each.format(folder) for each in words)
    assert {event.tamper.action for event in told} == {"file-change"}
    assert {event.process.pid for event in told} == {ended.process.pid}
    changes.look()
    assert len(told) == len(words), "once"


def test_what_the_daemons_do_themselves_is_nobodys_business(
    changes: Changes, folder: Path, told: list[event_pb2.Event]
) -> None:
    (folder / "plane/rubicon.db").write_text("more")
    (folder / "agents.partial").write_text("draft")
    (folder / "agents.partial").rename(folder / "agents.json")
    for _ in range(3):
        changes.look()
    assert told == []


def test_a_daemon_that_got_the_number_of_an_agents_process(
    changes: Changes, folder: Path, told: list[event_pb2.Event]
) -> None:
    """A sensor that is started again beside a fork bomb, which takes every pid there is."""
    event = event_pb2.Event(agent_id=f"{AGENT:012x}")
    event.process.pid, event.process.start_time_ns, event.time_ns = os.getpid(), 1, boottime_ns()
    changes.saw_exit(event)
    (folder / "spool.new").write_text("a segment")
    for _ in range(2):
        changes.look()
    assert told == []


def test_who_had_ended_before_made_none_of_it(changes: Changes, folder: Path, told: list[event_pb2.Event]) -> None:
    """Somebody else had its number then, and has ended as well: a daemon that was killed."""
    changes.look()
    before = boottime_ns()
    with subprocess.Popen(["touch", folder / "plane/new"]) as child:
        pass
    event = event_pb2.Event(agent_id=f"{AGENT:012x}", time_ns=before - 10**10)
    event.process.pid, event.process.start_time_ns = child.pid, 1
    changes.saw_exit(event)
    for _ in range(2):
        changes.look()
    assert told == []
    event.time_ns = boottime_ns()
    changes.saw_exit(event)
    changes.look()
    assert [each.tamper.detail for each in told] == [f"made {folder}/plane/new"]


def test_who_took_its_tag_away_is_named_once_it_is_back(
    kernel: Kernel, changes: Changes, folder: Path, told: list[event_pb2.Event]
) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; os.unlink(sys.argv[1]); print(flush=True); input()",
            folder / "token.key",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        changes.look()
        assert told == []
        assert kernel.tags.add(child.pid, AGENT, 1, 0)
        changes.look()
        child.communicate(b"\n", timeout=30)
    assert [(each.process.pid, each.tamper.detail) for each in told] == [(child.pid, f"removed {folder}/token.key")]


def test_a_folder_that_is_new_is_watched_and_the_logs_are_not(
    kernel: Kernel, changes: Changes, folder: Path, told: list[event_pb2.Event]
) -> None:
    (folder / "audit").mkdir()
    (folder / "audit/one").touch()
    changes.look()
    changes.saw_exit(agent_does(kernel, "rm", str(folder / "audit/one"), str(folder / "log/plane.log")))
    changes.look()
    assert [event.tamper.detail for event in told] == [f"removed {folder}/audit/one"]


def test_who_has_ended_is_remembered_within_bounds(changes: Changes) -> None:
    for pid in range(ENDED + 10):
        event = event_pb2.Event(agent_id=f"{AGENT:012x}")
        event.process.pid = pid
        changes.saw_exit(event)
    assert len(changes._ended) == ENDED


def test_a_kernel_that_cannot_is_said(kernel: Kernel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of one before 5.9."""
    monkeypatch.setattr("sensor.kernel.fanotify._REPORT_DFID_NAME", 1 << 30)
    watched = Changes(folder, folder / "log", kernel.tags, Report(lambda event: None))
    watched.start()
    assert "Invalid argument" in watched.refused
    watched.look()
    watched.stop()


@pytest.fixture
def overlay(folder: Path) -> Iterator[Path]:
    """The folder with a layer above it, as a container has it; the layer in memory, as an overlay takes none for that."""
    layer, merged = folder.parent / "layer", folder.parent / "merged"
    merged.mkdir()
    layer.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "layer", layer], check=True)
    try:
        for made in ("upper", "work"):
            (layer / made).mkdir()
        options = f"lowerdir={folder},upperdir={layer}/upper,workdir={layer}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
        yield merged
        subprocess.run(["umount", merged], check=True)
    finally:
        subprocess.run(["umount", layer], check=True)


@pytest.mark.skipif(KERNEL < (6, 6), reason="before 6.6 overlayfs has no handles")
def test_changes_on_an_overlay_are_told(kernel: Kernel, overlay: Path, told: list[event_pb2.Event]) -> None:
    watched = Changes(overlay, overlay / "log", kernel.tags, Report(told.append))
    watched.start()
    try:
        assert not watched.refused
        watched.saw_exit(agent_does(kernel, "rm", str(overlay / "token.key")))
        watched.look()
        assert [each.tamper.detail for each in told] == [f"removed {overlay}/token.key"]
    finally:
        watched.stop()


def test_folders_without_handles_are_said_and_do_no_harm(
    kernel: Kernel, overlay: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of an overlay before 6.6."""
    monkeypatch.setattr("sensor.kernel.fanotify._AT_HANDLE_FID", 0)
    watched = Changes(overlay, overlay / "log", kernel.tags, Report(lambda event: None))
    watched.start()
    try:
        assert watched.refused == f"{overlay}: fanotify: Operation not supported"
        watched.look()
    finally:
        watched.stop()
