"""The reader in the collector's loop: what makes it look, whose files it reads, and that it never waits or floods."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.v1 import event_pb2, process_pb2
from sensor.collect import ssh_config
from sensor.collect.ssh_config import SshConfigReader, SshConfigSettings, open_root
from sensor.errors import ProcessVanished

AGENT = "0000000000a1"
PIPE = process_pb2.DESCRIPTOR_KIND_PIPE


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def start_time_ns(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) * 10**9 // os.sysconf("SC_CLK_TCK")


def executed(pid: int, *argv: str, parent: int = 1, stdio: int = 0, exe: str = "") -> event_pb2.Event:
    event = event_pb2.Event(agent_id=AGENT, time_ns=77_000)
    event.record.epoch, event.record.cpu, event.record.sequence = 5, 1, 9
    event.process.pid, event.process.start_time_ns = pid, start_time_ns(pid)
    event.exec.argv.extend(word.encode() for word in argv)
    event.exec.exe, event.exec.cwd = exe or f"/usr/bin/{argv[0]}", "/"
    event.exec.credentials.uid, event.exec.credentials.gid = os.getuid(), os.getgid()
    event.exec.parent.pid, event.exec.parent.start_time_ns = parent, start_time_ns(parent)
    for _ in range(3):
        event.exec.stdio.add(kind=stdio)  # type: ignore[arg-type]
    return event


def banner(pid: int, *, outbound: bool = True, data: bytes = b"SSH-2.0-OpenSSH_9.2p1\r\n") -> event_pb2.Event:
    event = event_pb2.Event(agent_id=AGENT, time_ns=88_000)
    event.record.epoch, event.record.cpu, event.record.sequence = 5, 0, 3
    event.process.pid, event.process.start_time_ns = pid, start_time_ns(pid)
    event.payload.outbound, event.payload.data = outbound, data
    return event


class Watched:
    """A reader and what it said."""

    def __init__(self, settings: SshConfigSettings | None = None) -> None:
        self.said: list[event_pb2.Event] = []
        self.reader = SshConfigReader(self.said.append, settings)

    async def reports(self, count: int) -> list[event_pb2.Event]:
        async with asyncio.timeout(20):
            while len(self.said) < count:
                await asyncio.sleep(0.01)
        return self.said


async def test_exec_of_a_client(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    config = tmp_path / "c"
    config.write_text("Host x\n  RemoteForward 9000 h:80\n  ControlPath /tmp/%h\n")
    watched = Watched()
    trigger = executed(process.pid, "ssh", "-F", str(config), "x")
    watched.reader.on_event(trigger)
    (said,) = await watched.reports(1)
    assert said.agent_id == AGENT
    assert said.process == trigger.process
    assert said.time_ns == trigger.time_ns
    assert said.ssh_config.about == trigger.record
    assert list(said.ssh_config.remote_forwards) == ["9000 h:80"]
    assert list(said.ssh_config.files) == [str(config)]
    assert (said.ssh_config.host, said.ssh_config.control_path, said.ssh_config.error) == ("x", "/tmp/x", "")


async def test_renamed_client_is_read_at_its_banner(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    config = tmp_path / "c"
    config.write_text("RemoteForward 9000 h:80\n")
    watched = Watched()
    watched.reader.on_event(executed(process.pid, "worker", "-F", str(config), "x"))
    watched.reader.on_event(banner(process.pid, outbound=False))
    watched.reader.on_event(banner(process.pid, data=b"GET / HTTP/1.1\r\n"))
    assert watched.said == []
    for _ in range(3):
        watched.reader.on_event(banner(process.pid))
    (said,) = await watched.reports(1)
    assert list(said.ssh_config.remote_forwards) == ["9000 h:80"]
    assert said.ssh_config.about.sequence == 3


async def test_client_whose_exec_was_not_seen(tmp_path: Path) -> None:
    config = tmp_path / "c"
    config.write_text("RemoteForward 9000 h:80\n")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-F", str(config)]) as child:
        watched = Watched()
        watched.reader.on_event(banner(child.pid))
        (said,) = await watched.reports(1)
        child.kill()
    assert list(said.ssh_config.remote_forwards) == ["9000 h:80"]


async def test_parent_of_a_proxy(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    config = tmp_path / "c"
    config.write_text("RemoteForward 9000 h:80\n")
    watched = Watched()
    watched.reader.on_event(executed(os.getpid(), "worker", "-F", str(config), "x"))
    watched.reader.on_event(executed(process.pid, "nc", "x", "22", parent=os.getpid(), stdio=PIPE))
    watched.reader.on_event(banner(process.pid))
    reports = await watched.reports(2)
    found = {said.process.pid: list(said.ssh_config.remote_forwards) for said in reports}
    assert found[os.getpid()] == ["9000 h:80"]


async def test_ended_process_says_so(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    trigger = executed(child.pid, "ssh", "x")
    child.kill()
    child.wait()
    watched = Watched()
    watched.reader.on_event(trigger)
    (said,) = await watched.reports(1)
    assert "ended before" in said.ssh_config.error


def test_reused_pid_is_not_read(process: subprocess.Popen[bytes]) -> None:
    start = start_time_ns(process.pid)
    os.close(open_root((process.pid, start)))
    with pytest.raises(ProcessVanished, match="ended before"):
        open_root((process.pid, start - 10**9))


async def test_a_flood_is_bounded_and_says_so(process: subprocess.Popen[bytes]) -> None:
    watched = Watched(SshConfigSettings(waiting_per_agent=3))
    for _ in range(200):
        watched.reader.on_event(executed(process.pid, "ssh", "x"))
    reports = await watched.reports(4)
    assert len(reports) == 4
    assert [said.ssh_config.error for said in reports].count("not read: too many SSH clients were started at once") == 1


async def test_a_reading_that_takes_too_long(process: subprocess.Popen[bytes]) -> None:
    """The helper is given up and killed; the loop goes on meanwhile."""
    watched = Watched(SshConfigSettings(seconds=0.001))
    began = time.monotonic()
    watched.reader.on_event(executed(process.pid, "ssh", "x"))
    assert time.monotonic() - began < 0.05
    (said,) = await watched.reports(1)
    assert "given up" in said.ssh_config.error


async def test_close_gives_up(process: subprocess.Popen[bytes]) -> None:
    watched = Watched()
    for _ in range(5):
        watched.reader.on_event(executed(process.pid, "ssh", "x"))
    await watched.reader.close()
    assert watched.said == []


async def test_other_programs_are_left_alone(process: subprocess.Popen[bytes]) -> None:
    watched = Watched()
    for name in ("sshd", "ssh-keygen", "ssh-agent", "cat", "scp", "bash"):
        watched.reader.on_event(executed(process.pid, name, "x"))
    await asyncio.sleep(0)
    assert watched.reader._tasks == set()


def test_kinds_are_the_kernels() -> None:
    assert ssh_config.KINDS == (2, 17)
