"""deploy/profile under a real runc: what a container may not do, and that it works otherwise."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rubicon.cli.launch.profile import lists
from tests.docs.pages import REPOSITORY

pytestmark = pytest.mark.root
PROFILE = REPOSITORY / "deploy/profile"
PROGRAM = REPOSITORY / "tests/e2e/programs/calls.c"


class Container:
    """A bundle whose root holds one static program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "rootfs/proc").mkdir(parents=True)
        command = ["cc", "-static", "-O2", "-Wall", "-Wextra", "-o", folder / "rootfs/calls", PROGRAM]
        subprocess.run(command, check=True)
        subprocess.run(["runc", "spec"], cwd=folder, check=True)
        self.bare: dict[str, Any] = json.loads((folder / "config.json").read_text())

    def run(self, *names: str, profile: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it as the container's root, with the profile or with all that runc can give."""
        config = json.loads(json.dumps(self.bare))
        process = config["process"]
        process |= {"terminal": False, "args": ["/calls", *names], "noNewPrivileges": False}
        del process["rlimits"]
        if profile:
            process["capabilities"] = json.loads((PROFILE / "capabilities.json").read_text())
            config["linux"]["seccomp"] = json.loads((PROFILE / "seccomp.json").read_text())
        else:
            everything = [*lists.CONTAINER, *(each.name for each in lists.DROPPED if _held() >> each.number & 1)]
            process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
        (self.folder / "config.json").write_text(json.dumps(config))
        name = f"rubicon-test-{os.getpid()}-{secrets.token_hex(3)}"
        command = ["runc", "--root", str(self.folder / "state"), "run", name]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)


def _held() -> int:
    """What the machine of this test has to give, one bit a capability: a virtual machine may be without some."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapBnd:")[2].split()[0], 16)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    return Container(tmp_path_factory.mktemp("bundle"))


def test_what_it_refuses(container: Container) -> None:
    names = ["bpf", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"]
    names += [
        "raw",
        "mount",
        "unshare-net",
        "socket:17",
        f"socket:{0x1_0000_0011}",
        "datagram:38",
        "datagram:40",
        "pair:3",
    ]
    done = container.run(*names)
    wanted = ["EPERM", "EPERM", *["ENOSYS"] * 3, *["EPERM"] * 3, *["EAFNOSUPPORT"] * 5]
    assert done.stdout.split() == wanted, done.stderr


def test_what_works(container: Container) -> None:
    names = ["euid", "inet", "pair:1", "datagram:10", "datagram:16", "trace-child"]
    done = container.run(*names)
    assert done.stdout.split() == ["0", *["ok"] * 5], done.stderr


@pytest.mark.parametrize("abi", ["x32", "i386"])
def test_calls_of_another_abi_end_the_process(container: Container, abi: str) -> None:
    done = container.run(abi)
    assert (done.returncode, done.stdout) == (128 + 31, "")


def test_without_the_profile_the_same_calls_work(container: Container) -> None:
    done = container.run("bpf", "io_uring_setup", "socket:17", "raw", "i386", profile=False)
    assert done.stdout.split() == ["ok"] * 5, done.stderr
