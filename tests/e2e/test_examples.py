"""examples/ for real: an orchestrator whose rollout behaves, and one whose rollout opens a tunnel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rubicon.client
from tests.docs.pages import REPOSITORY, blocks
from tests.e2e.host import Host, until

pytestmark = pytest.mark.root
EXAMPLE = Path(__file__).parents[2] / "examples" / "orchestrator.py"
OUTSIDE = """
import asyncio, asyncssh, sys

class Open(asyncssh.SSHServer):
    def begin_auth(self, username): return False
    def server_requested(self, host, port): return True

async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Open, server_host_keys=[key])
    print(server.get_port(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def outside() -> Iterator[int]:
    """Port of an SSH server that lets everybody in and forwards what it is asked to."""
    with subprocess.Popen([sys.executable, "-c", OUTSIDE], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def orchestrate(host: Host, name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE, name, *command],
        env=host.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_rollout_that_behaves_goes_its_way(host: Host) -> None:
    done = orchestrate(host, "rollout-7", "sh", "-c", "/bin/echo honest work; /bin/true; exit 0")
    assert done.returncode == 0, done.stderr
    first, *tree = done.stdout.splitlines()
    assert first == "honest work"
    (agent,) = (each for each in host.json("ps", "-a") if each["name"] == "rollout-7")
    assert (agent["labels"], agent["alerts"]) == ({"episode": "7"}, 0)
    until(lambda: not host.json("ps"))
    seen = host.json("tree", "-a", agent["id"])
    assert [each["depth"] for each in seen] == [0, 1, 1]
    assert [each["argv"][0] for each in seen] == ["sh", "/bin/echo", "/bin/true"], "from its first instruction on"
    assert tree, "the tree is shown"


def test_a_rollout_that_opens_a_tunnel_is_ended_with_a_reason(host: Host, outside: int) -> None:
    script = (
        f"ssh -N -R 0:127.0.0.1:1 -p {outside} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
        "-o BatchMode=yes x@127.0.0.1 & exec sleep 60"
    )
    done = orchestrate(host, "rollout-8", "sh", "-c", script)
    assert done.returncode == 1, done.stderr
    said, *tree = done.stdout.splitlines()
    assert "SSH remote forward" in said
    assert said.endswith("processes, verified")
    assert any("ssh -N -R" in line or "/ssh -N -R" in line for line in tree)
    (agent,) = (each for each in host.json("ps", "-a") if each["name"] == "rollout-8")
    assert agent["state"] == "killed"
    assert "SSH remote forward" in agent["reason"]
    assert not host.json("ps")


def test_the_snippet_of_the_readme_sees_the_first_instruction(host: Host, tmp_path: Path) -> None:
    (snippet,) = (block.text for block in blocks(REPOSITORY / "README.md") if block.language == "python")
    for line in snippet.splitlines():
        assert line.strip() in (rubicon.client.__doc__ or ""), "the package says the same"
    rollout = tmp_path / "rollout.sh"
    rollout.write_text("#!/bin/sh\n/bin/echo honest work\n")
    rollout.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path, env=host.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "honest work\n"), done.stderr
    agent = next(each for each in host.json("ps", "-a") if each["name"] == "rollout-7")
    seen = host.json("tree", "-a", agent["id"])
    assert [each["argv"] for each in seen] == [["/bin/sh", "./rollout.sh"], ["/bin/echo", "honest", "work"]]


def test_usage() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "usage" in done.stderr
