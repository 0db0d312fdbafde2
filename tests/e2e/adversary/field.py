"""The three adversaries: root under the launch profile, root in a container under the same profile, root with all rights."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

from tests.docs.pages import REPOSITORY
from tests.e2e.host import Host, until

PROGRAMS = Path(__file__).parent / "programs"
ATTACKS = ("/usr/bin/python3", "-S", str(PROGRAMS / "attacks.py"))
PROFILE = REPOSITORY / "deploy/profile"


def under_profile(host: Host, *attacks: str) -> list[str]:
    """What each attack of root under the launch profile came to."""
    return _lines(host.rubicon("run", "-q", "--user", "root", "--", *ATTACKS, *attacks, cwd="/"))


def privileged(host: Host, *attacks: str) -> list[str]:
    """What each attack of host root came to."""
    return _lines(host.rubicon("run", "-q", "--user", "root", "--privileged", "--", *ATTACKS, *attacks, cwd="/"))


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


class Container:
    """A container with the host's /usr to read; its root is root in no user namespace of its own."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._folder = host, folder
        root = folder / "rootfs"
        for name in ("proc", "usr", "tmp", "attacks"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            (root / name).symlink_to(f"usr/{name}")
        subprocess.run(["runc", "spec"], cwd=folder, check=True)
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        process = config["process"]
        process |= {"terminal": False, "noNewPrivileges": False}
        del process["rlimits"]
        process["capabilities"] = json.loads((PROFILE / "capabilities.json").read_text())
        config["linux"]["seccomp"] = json.loads((PROFILE / "seccomp.json").read_text())
        config["root"]["readonly"] = False
        for source, target in (("/usr", "/usr"), (str(PROGRAMS), "/attacks")):
            config["mounts"].append(
                {"type": "bind", "source": source, "destination": target, "options": ["rbind", "ro"]}
            )
        self._config = config

    def __call__(self, *attacks: str) -> list[str]:
        """What each attack of the container's root came to; the container is an agent."""
        self._config["process"]["args"] = [*ATTACKS[:2], "/attacks/attacks.py", *attacks]
        (self._folder / "config.json").write_text(json.dumps(self._config))
        name = f"rubicon-t-{os.getpid()}-{secrets.token_hex(3)}"
        command = ["runc", "--root", str(self._folder / "state"), "run", name]
        options = ["-q", "--user", "root", "--privileged"]
        return _lines(self._host.rubicon("run", *options, "--", *command, cwd=self._folder))


def alerts(host: Host, detector: str, title: str = "") -> list[dict[str, Any]]:
    """Alerts of a detector, once there are some."""

    def found() -> list[dict[str, Any]]:
        return [each for each in host.json("alerts") if each["detector"] == detector and title in each["title"]]

    return list(until(found))
