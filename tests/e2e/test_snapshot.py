"""rubicon snapshot: what a frozen agent's processes hold, in a tar that says what is in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.host import Host, until

pytestmark = pytest.mark.root

HOLDS = """
import os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
kept = open("/etc/hostname")
if os.fork() == 0:
    os.chdir("/tmp")
os.write(1, b"ready\\n")
time.sleep(100)
"""


def taken(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    with tarfile.open(path) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    manifest = json.loads(contents.pop("manifest.json"))
    listed = {each["name"]: each["sha256"] for each in manifest["files"]}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    facts = {name: json.loads(data) for name, data in contents.items() if name.endswith(".json")}
    return manifest, {each["pid"]: each for each in facts.values()}


def test_what_a_frozen_agent_holds(host: Host, tmp_path: Path) -> None:
    with subprocess.Popen(
        host.command("run", "-q", "--name", "held", "--", "/usr/bin/python3", "-S", "-c", HOLDS),
        env={**host.environment, "API_TOKEN": "very-secret", "PLAIN": "seen", "DB": "postgres://me:pass@db/x"},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        assert running.stdout.readline() == "ready\n"
        unfrozen = host.rubicon("snapshot", "held", "-o", str(tmp_path / "loose.tar"))
        assert unfrozen.returncode == 0, unfrozen.stderr
        assert "not frozen" in unfrozen.stderr
        host.json("freeze", "held")
        done = host.rubicon("snapshot", "held", "-o", str(tmp_path / "held.tar.gz"), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["processes"] == 2
        manifest, processes = taken(tmp_path / "held.tar.gz")
        assert (manifest["name"], manifest["frozen"], manifest["secrets"]) == ("held", True, "masked")
        assert sorted(processes) == sorted(manifest["processes"])
        assert (tmp_path / "held.tar.gz").stat().st_mode & 0o777 == 0o600
        for facts in processes.values():
            assert facts["exe_sha256"] == hashlib.sha256(Path("/usr/bin/python3").resolve().read_bytes()).hexdigest()
            assert facts["argv"][:2] == ["/usr/bin/python3", "-S"]
            environment = facts["environment"]
            assert (environment["API_TOKEN"], environment["PLAIN"]) == ("***", "seen")
            assert environment["DB"] == "postgres://me:***@db/x"
            sockets = [each["socket"] for each in facts["descriptors"] if "socket" in each]
            assert {each["state"] for each in sockets if each["protocol"] == "tcp"} == {"listen", "established"}
            assert any(each["target"] == "/etc/hostname" for each in facts["descriptors"])
            assert set(facts["namespaces"]) >= {"net", "mnt", "pid", "user"}
        assert "/tmp" in {facts["cwd"] for facts in processes.values()}
        host.rubicon("snapshot", "held", "-o", str(tmp_path / "shown.tar"), "--show-secrets")
        _, processes = taken(tmp_path / "shown.tar")
        assert {facts["environment"]["API_TOKEN"] for facts in processes.values()} == {"very-secret"}
        host.rubicon("kill", "held")
    until(lambda: not host.json("ps"))


def test_nowhere_to_write_and_nobody_to_see(host: Host, tmp_path: Path) -> None:
    assert host.rubicon("snapshot", "nobody", "-o", str(tmp_path / "x.tar")).returncode == 5
    assert host.rubicon("snapshot", "nobody").returncode == 2
    assert not list(tmp_path.iterdir())
