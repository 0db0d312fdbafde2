"""deploy/rubicon.service: systemd takes every line of it, and it takes nothing away that Rubicon needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.pages import REPOSITORY

UNIT = REPOSITORY / "deploy/rubicon.service"
NEEDED = "SYS_ADMIN BPF PERFMON NET_ADMIN SYS_RESOURCE SYS_NICE SYS_PTRACE KILL DAC_OVERRIDE CHOWN SETUID SETGID"
OWN_MOUNTS = "Protect Private ReadWritePaths ReadOnlyPaths InaccessiblePaths BindPaths TemporaryFileSystem MountFlags"


def settings() -> list[tuple[str, str]]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def test_systemd_takes_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/rubicon/bin", str(Path(sys.executable).parent)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_takes_away_nothing_that_is_needed() -> None:
    taken = " ".join(value for name, value in settings() if name == "CapabilityBoundingSet").removeprefix("~").split()
    assert taken
    assert not {f"CAP_{name}" for name in NEEDED.split()} & set(taken)
    names = {name for name, _ in settings()}
    assert not names & {"RestrictRealtime", "RestrictNamespaces", "MemoryDenyWriteExecute", "RuntimeDirectory"}
    assert not [name for name in names if name.startswith(tuple(OWN_MOUNTS.split()))]


def test_the_page_names_it() -> None:
    assert "deploy/rubicon.service" in (REPOSITORY / "docs/operations.md").read_text()
