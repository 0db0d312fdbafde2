"""Plane and sensor of an instance of the test's own, through the command line as a user types it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rubicon.v1.instance import Instance

BIN = Path(sys.executable).parent


def until(condition: Callable[[], object], seconds: float = 60) -> Any:
    """Poll until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


@dataclass
class Host:
    """One instance and its command line."""

    name: str = field(default_factory=lambda: f"t-{os.getpid()}-{secrets.token_hex(3)}")

    @property
    def instance(self) -> Instance:
        return Instance(f"rubicon-{self.name}")

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SUDO_")}
        return {**kept, "RUBICON_INSTANCE": self.name}

    def command(self, *arguments: str) -> list[str]:
        return [str(BIN / "rubicon"), *arguments]

    def rubicon(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever its status."""
        options = {"env": self.environment, "stdin": subprocess.DEVNULL, "timeout": 60, **options}
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, **options)

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """What a reading command prints with --json."""
        done = self.rubicon(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def daemon(self, name: str) -> int:
        """The pid of rubicon-plane, rubicon-sensor or supervisor, 0 where there is none."""
        try:
            recorded = json.loads((self.instance.run_dir / "daemons.json").read_text())
        except FileNotFoundError:
            return 0
        return next((each["pid"] for each in recorded if each["name"] == name), 0)
