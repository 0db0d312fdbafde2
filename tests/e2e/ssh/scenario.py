"""What agents do: each scenario is a real client, run as an agent in the world's namespaces."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rubicon.v1 import alert_pb2
from sensor.act.cgroup import mount
from tests.e2e.ssh.world import CLIENTS, HERE, PYTHON, SECRET_PORT, SITE_PACKAGES, World

SAMPLES = HERE.parents[1] / "controlplane/detectors"
ARGV, CONFIG, WIRE, USE = "argv", "config", "wire", "behaviour"
Prepare = Callable[[World], Any]


@dataclass(frozen=True)
class Scenario:
    """One run. `name` is also the sample's."""

    name: str
    command: str
    """Shell words; `{…}` stands for the world's things, see `words`."""
    kinds: frozenset[str] = frozenset()
    """Kinds of evidence that must be there, at least; empty for a miss. What shows the forward before it is used is
    waited for before something is pulled."""
    port: int = 0
    """Where the tunnel is pulled through; 0 for none."""
    socks: bool = False
    unix: str = ""
    """The same, a socket's path."""
    scrubbed: str = ""
    """Arguments that {scrub} gives to the program that it stands before."""
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    outbound: bool = True
    """ssh-outbound is expected."""
    holder: str = ""
    """Part of the argv of the process that the alert names."""
    seconds: float = 30
    """Until it has ended by itself, if it forwards nothing."""
    sample: bool = False
    """Recorded as a sample for the detectors' tests."""
    hasty: bool = False
    """The outside does not wait: its first attempt meets the forward's first moment."""
    chatty: bool = False
    """The outside talks in small messages before it pulls."""
    severity: int = alert_pb2.SEVERITY_HIGH
    """At least."""

    @property
    def hit(self) -> bool:
        return bool(self.kinds)

    @property
    def pulled(self) -> bool:
        """Something is asked for through a tunnel of its own."""
        return bool(self.port or self.unix)

    def values(self, world: World) -> dict[str, str]:
        """What stands for what."""
        options = shlex.join(world.options)
        return {
            "dir": str(world.dir),
            "key": f"{world.dir}/user_key",
            "hostkey": world.host_fingerprint,
            "python": PYTHON,
            "base": sys.base_prefix,
            "clients": str(CLIENTS),
            "cgroups": str(mount()),
            "port": str(self.port),
            "target": f"127.0.0.1:{SECRET_PORT}",
            "to": "-p 443 root@127.0.0.1",
            "ssh": f"ssh {options}",
            "options": options,
            "scrub": f"env LD_PRELOAD={world.dir}/scrub.so SCRUB={world.dir}/scrubbed/{self.name}",
        }

    def words(self, world: World) -> list[str]:
        """The command with everything put in; what goes beside it is written."""
        values = self.values(world)
        if self.scrubbed:
            arguments = shlex.split(self.scrubbed.format(**values))
            world.file(f"scrubbed/{self.name}", "\n".join(arguments) + "\n")
        return shlex.split(self.command.format(**values))

    def env(self, world: World) -> list[str]:
        """Environment of the agent, as words of env(1)."""
        common = {
            "HOME": f"{world.dir}/home",
            "KEY": f"{world.dir}/user_key",
            "TARGET": str(SECRET_PORT),
            "LISTEN": str(self.port),
            "PORT": "443",
            "PYTHONPATH": SITE_PACKAGES,
            "FORWARD": f"{self.port}:127.0.0.1:{SECRET_PORT}",
        }
        own = {name: value.format(**self.values(world)) for name, value in self.environment.items()}
        return [f"{name}={value}" for name, value in {**common, **own}.items()]


def kinds(*names: str) -> frozenset[str]:
    """Kinds of evidence."""
    return frozenset(names)


def config(path: str, *lines: str) -> Prepare:
    """Prepares a configuration file with a block for Host `box`."""
    return lambda world: world.config(path, *lines)


def sample_path(module: str, scenario: Scenario, *, hit: bool) -> Path:
    """Where a scenario's sample for a detector's module stands."""
    return SAMPLES / module / f"{'hit' if hit else 'miss'}-{scenario.name}.jsonl"
