"""Root with all rights on the host: what the kernel refuses to it, and that it is named for what the kernel cannot refuse."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sensor.kernel import bpf
from tests.docs.pages import REPOSITORY
from tests.e2e.host import Host, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # others may hold the lock
TAMPER = REPOSITORY / "tests/e2e/programs/tamper.py"
DAEMONS = {"sensor": "rubicon-sensor", "plane": "rubicon-plane", "supervisor": "supervisor"}


@dataclass
class Attacker:
    """An agent that has done one thing and holds on; `came` is what it came to."""

    host: Host
    name: str
    came: str

    def alert(self, action: str, part: str = "") -> dict[str, Any]:
        """The critical alert about it, once it is there; it names this agent's process."""

        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.host.json("alerts", self.name)
                if each["detector"] == "sensor-tampering"
                and each["title"].endswith(f": {action}")
                and any(part in item["text"] for item in each["evidence"])
            ]

        alert = until(found)[0]
        assert alert["severity"] == "critical"
        assert any("tamper.py" in word for word in alert["process"]["argv"]), alert
        return dict(alert)

    def titles(self) -> list[str]:
        """Of all its alerts."""
        return [each["title"] for each in self.host.json("alerts", self.name)]


@contextlib.contextmanager
def attacker(host: Host, *words: object) -> Iterator[Attacker]:
    name = f"root-{secrets.token_hex(4)}"
    options = ["-q", "--user", "root", "--privileged", "--name", name, "--alerts-to", "/dev/null"]
    command = host.command("run", *options, "--")
    with subprocess.Popen(
        [*command, sys.executable, "-S", str(TAMPER), *map(str, words)],
        env=host.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout
        came = process.stdout.readline().strip()
        try:
            yield Attacker(host, name, came)
        finally:
            process.communicate("\n", timeout=60)


@pytest.fixture
def pins(host: Host) -> Path:
    return Path("/sys/fs/bpf") / host.instance.name


def test_no_file_of_the_daemons_is_opened(host: Host) -> None:
    """Key, database with what is beside it, spool, registry, audit."""
    state = host.instance.state_dir
    with attacker(host, "own-map"):  # there is an agents.json
        files = [path for path in state.rglob("*") if path.is_file() and path.parent != host.instance.log_dir]
        names = {path.name for path in files}
        assert {"token.key", "agents.json", "audit.key", "rubicon.db", "rubicon.db-wal"} <= names
        assert any(path.suffix == ".segment" for path in files)
        with attacker(host, "read", *files) as found:
            assert found.came == "EPERM"
            for path in (host.instance.token_key, host.instance.store_dir / "rubicon.db-wal"):
                found.alert("file-open", f"{path}; refused")
    assert host.instance.token_key.read_bytes(), "who is no agent may"


def test_no_other_name_of_a_file_helps(host: Host, tmp_path: Path) -> None:
    key, link = host.instance.token_key, host.instance.state_dir.parent / f"link-{secrets.token_hex(4)}"
    for words in (("by-link", key, link), ("by-mount", key.parent, key.name, tmp_path), ("by-handle", key)):
        with attacker(host, *words) as found:
            assert found.came == "EPERM", words
            found.alert("file-open")


def test_a_file_that_is_made_later_is_guarded(host: Host) -> None:
    folder = host.instance.state_dir / "later"
    folder.mkdir()
    try:
        (folder / "file").write_text("secret")
        with attacker(host, "read", folder) as found:
            assert found.came == "EPERM"

        def refused() -> bool:
            with attacker(host, "read", folder / "file") as found:
                return found.came == "EPERM"

        until(refused)
    finally:
        (folder / "file").unlink()
        folder.rmdir()


def test_who_changes_a_file_without_opening_it_is_named(host: Host) -> None:
    scrap, forged = host.instance.state_dir / "scrap", host.instance.state_dir.with_name(f"forged-{host.name}")
    for words, told in (
        (("truncate", scrap), "wrote or cut short"),
        (("unpin", scrap), "removed"),
        (("replace", forged, scrap), "moved something to"),
    ):
        scrap.write_text("scrap")
        forged.write_text("forged")
        with attacker(host, *words) as found:
            pass
        assert found.came == "ok"
        found.alert("file-change", f"{told} {scrap}")
    scrap.unlink()
    forged.unlink(missing_ok=True)


def test_a_sealed_map_cannot_be_changed(host: Host, pins: Path) -> None:
    """The kernel refuses every change of it through bpf(2): BPF_MAP_FREEZE."""
    for name in ("tags", "strangers", "tag_filter", "untagged"):
        with attacker(host, "delete", pins / "maps" / name, 0) as found:
            assert found.came == "EPERM", name


@pytest.mark.parametrize(("kind", "name"), [("map", "maps/tags"), ("link", "links/connect4")])
def test_who_holds_something_of_the_sensors_is_named(host: Host, pins: Path, kind: str, name: str) -> None:
    with attacker(host, "hold", pins / name) as found:
        assert found.came == "ok"
        found.alert("bpf-access", f"holds {kind} ")


def test_maps_of_its_own_are_its_own(host: Host, pins: Path) -> None:
    with attacker(host, "own-map") as mine, attacker(host, "hold", pins / "maps/tags") as found:
        assert mine.came == "ok"
        found.alert("bpf-access")  # in the same look
        assert mine.titles() == []


def test_a_program_of_its_own_that_takes_its_tag_is_named(host: Host, pins: Path) -> None:
    with attacker(host, "delete-by-program", pins / "maps/tags") as found:
        assert found.came == "ok"
        found.alert("tag-removed", "it has it again")
        found.alert("foreign-program")
        until(lambda: [each["processes"] for each in host.json("ps") if each["name"] == found.name] == [1])


@pytest.mark.parametrize("name", ["connect4", "socket_create"])
def test_a_hook_that_is_detached_comes_back(host: Host, pins: Path, name: str) -> None:
    with attacker(host, "detach", pins / "links" / name) as found:
        assert found.came == "ok"
        found.alert("link-detached", f"the hook {name} was detached; it is as it was")
        descriptor = bpf.pinned(str(pins / "links" / name))
        assert not bpf.link_info(descriptor).detached
        os.close(descriptor)


def test_a_hook_on_a_tracepoint_cannot_be_detached(host: Host, pins: Path) -> None:
    for name in ("process_fork", "process_exec", "process_exit", "cgroup_attach", "signal_generate"):
        with attacker(host, "detach", pins / "links" / name) as found:
            assert found.came in ("EOPNOTSUPP", "ENOTSUP"), name


@pytest.mark.parametrize("name", ["links/process_fork", "maps/tags"])
def test_a_pin_that_is_removed_comes_back(host: Host, pins: Path, name: str) -> None:
    with attacker(host, "unpin", pins / name) as found:
        assert found.came == "ok"
        found.alert("pin-removed", f"{Path(name).name} was removed; it is as it was")
        assert (pins / name).exists()


@pytest.mark.parametrize("daemon", ["sensor", "plane"])
def test_a_tracer_is_named(host: Host, daemon: str) -> None:
    with attacker(host, "trace", host.daemon(DAEMONS[daemon])) as found:
        assert found.came == "ok"
        found.alert("ptrace", f"traces a thread of the {daemon}")


@pytest.mark.parametrize("daemon", ["sensor", "plane", "supervisor"])
def test_who_stops_a_daemon_is_named_and_it_goes_on(host: Host, daemon: str) -> None:
    pid = host.daemon(DAEMONS[daemon])
    with attacker(host, "kill", pid, int(signal.SIGSTOP)) as found:
        assert found.came == "ok"
        found.alert("signal", f"sent SIGSTOP to the {daemon} (process {pid})")
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T")
    assert host.daemon(DAEMONS[daemon]) == pid


@pytest.mark.parametrize("daemon", ["sensor", "plane"])
def test_who_kills_a_daemon_is_named(host: Host, daemon: str) -> None:
    """The record is in the ring before the sensor is dead: the next one reads it."""
    pid = host.daemon(DAEMONS[daemon])
    with attacker(host, "kill", pid, int(signal.SIGKILL)) as found:
        assert found.came == "ok"
        until(lambda: host.daemon(DAEMONS[daemon]) not in (0, pid))
        until(lambda: host.rubicon("ps").returncode == 0)
        found.alert("signal", f"sent SIGKILL to the {daemon} (process {pid})")


def test_a_stopped_sensor_keeps_nobody_waiting_for_ever(host: Host) -> None:
    """Who opens a guarded file waits for the sensor, until the supervisor has it go on."""
    os.kill(host.daemon("rubicon-sensor"), signal.SIGSTOP)
    assert host.instance.token_key.read_bytes()
