"""Where one instance of Rubicon lives on a host.

`RUBICON_INSTANCE` moves every path, so that a test or a second trial never meets the first. Both daemons and the CLI take
their paths from here and from nowhere else.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

DEFAULT = "rubicon"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class InstanceNameInvalid(ValueError):
    """RUBICON_INSTANCE names what cannot be."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Paths of one instance; `name` is "rubicon" or "rubicon-NAME"."""

    name: str

    @classmethod
    def current(cls) -> Instance:
        """The instance that RUBICON_INSTANCE names.

        Raises:
            InstanceNameInvalid: the name has characters that a path or a cgroup could not carry safely.
        """
        wanted = os.environ.get("RUBICON_INSTANCE", "")
        if not wanted:
            return cls(DEFAULT)
        if not _NAME.fullmatch(wanted):
            raise InstanceNameInvalid(
                f"RUBICON_INSTANCE={wanted!r}: use 1 to 31 of a-z, 0-9 and '-', not starting with '-'"
            )
        return cls(f"{DEFAULT}-{wanted}")

    @property
    def run_dir(self) -> Path:
        """Sockets and pid files; 0750 root:rubicon. Agents see it: no lock may lie here, which one of them could hold."""
        return Path("/run") / self.name

    @property
    def state_dir(self) -> Path:
        """Spool, store, keys and locks; 0700 root. The launch profile hides it from agents."""
        return Path("/var/lib") / self.name

    @property
    def settings_file(self) -> Path:
        """The settings file, unless RUBICON_PLANE_SETTINGS_FILE names another; it may be missing."""
        return Path("/etc") / self.name / "rubicon.yaml"

    @property
    def sensor_socket(self) -> Path:
        """The sensor's local socket: attest, launch, kill (JSON lines)."""
        return self.run_dir / "sensor.sock"

    @property
    def plane_socket(self) -> Path:
        """The plane's gRPC socket."""
        return self.run_dir / "plane.sock"

    @property
    def token_key(self) -> Path:
        """Key (32 bytes, 0600 root) with which the sensor signs tokens and the plane verifies them."""
        return self.state_dir / "token.key"

    @property
    def spool_dir(self) -> Path:
        """The sensor's batches that are not acknowledged yet."""
        return self.state_dir / "spool"

    @property
    def store_dir(self) -> Path:
        """The plane's database and segments."""
        return self.state_dir / "plane"

    @property
    def log_dir(self) -> Path:
        """Logs of daemons that `rubicon up` or `rubicon run` started."""
        return self.state_dir / "log"

    @property
    def cgroup(self) -> str:
        """Folder of the agents' cgroups, below the v2 mount: /NAME/AGENT."""
        return self.name
