"""The sensor's settings: a dataclass per concern; each field says its unit and its default's reason.

Every field can be set by an environment variable RUBICON_SENSOR_<CONCERN>_<FIELD> (upper case); a value that does not
parse is an error at start, never a silent default.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from sensor.errors import StartFailed
from sensor.kernel.settings import KernelSettings


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Which host this is."""

    name: str = field(default_factory=socket.gethostname)
    """As agents, alerts and the plane name it; the kernel's host name unless set."""
    boot_id: str = field(default_factory=lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    """The running kernel's boot id."""


@dataclass(frozen=True, slots=True)
class EnrolSettings:
    """Agents' lives."""

    move: str = "auto"
    """Whether a living process that is enrolled moves to a cgroup of its own: always, never, or auto: unless a
    controller limits its present one (a container's or a unit's), whose limits it would escape."""
    gather_s: float = 5.0
    """Seconds for tagging a living tree; a fork bomb takes below one."""
    sweep_s: float = 0.25
    """Seconds between looks at living agents. A look costs about a millisecond, and only while an agent lives."""
    calm_s: float = 1.0
    """Seconds between them while there is nothing to hold or to clear up: then exits and moves say when to look."""
    linger_s: float = 1.0
    """Seconds after an agent's end until its cgroup and maps go: its connections are still closing."""
    condemned_again_s: float = 5.0
    """Seconds until the kill of somebody who does not die (D state) is tried again."""


@dataclass(frozen=True, slots=True)
class KillSettings:
    """Kills."""

    patience_s: float = 3.0
    """Seconds until what is left is reported; 64 forkers and their 500 children take below 0.2."""
    threads: int = 4
    """Kills at once."""


@dataclass(frozen=True, slots=True)
class ContainSettings:
    """Freeze and isolation."""

    patience_s: float = 3.0
    """Seconds until who has not stopped, or is still connected, is reported; both take milliseconds."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The local socket."""

    line_bytes: int = 65536
    """Longest request: an argv that is longer is cut by `rubicon run` before it is sent."""
    idle_s: float = 30.0
    """Seconds that a connection may be silent, or take for one line."""
    write_s: float = 5.0
    """Seconds that a caller may take to read an answer."""
    connections: int = 64
    """Connections at once."""
    connections_per_uid: int = 32
    """Of one user, so that one cannot keep the others out (root is not counted)."""
    tamper_s: float = 1.0
    """Seconds between two tamper events of one agent, so that a flood of calls is no flood of events."""


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What the plane has not acknowledged yet, on disk."""

    cap_bytes: int = field(default=256 * 1024 * 1024, metadata={"below": 1 << 50})
    """Bytes that it may take, 16 MB or more; beyond it the oldest batches go and are reported as lost. Several million
    events fit."""

    def __post_init__(self) -> None:
        """Raises:
        ValueError: (field, why).
        """
        if self.cap_bytes < 16 << 20:
            raise ValueError("cap_bytes", "give 16777216 or more: a batch has up to 1 MB")


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them."""

    host: HostSettings = field(default_factory=HostSettings)
    kernel: KernelSettings = field(default_factory=KernelSettings)
    enrol: EnrolSettings = field(default_factory=EnrolSettings)
    kill: KillSettings = field(default_factory=KillSettings)
    contain: ContainSettings = field(default_factory=ContainSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read them.

        Raises:
            StartFailed: a variable names no setting, or has a value that cannot be.
        """
        defaults = cls()
        concerns = {each.name: type(getattr(defaults, each.name)) for each in fields(cls)}
        given: dict[str, dict[str, Any]] = {name: {} for name in concerns}
        for variable, text in environment.items():
            if not variable.startswith("RUBICON_SENSOR_"):
                continue
            concern, _, name = variable.removeprefix("RUBICON_SENSOR_").lower().partition("_")
            known = {each.name: each for each in fields(concerns[concern])} if concern in concerns else {}
            if name not in known:
                raise StartFailed(f"{variable}: there is no such setting")
            given[concern][name] = _parsed(variable, text, known[name])
        settings = cls(**{name: _made(name, concern, given[name]) for name, concern in concerns.items()})
        if settings.enrol.move not in ("auto", "always", "never"):
            raise StartFailed(f"RUBICON_SENSOR_ENROL_MOVE={settings.enrol.move!r}: use auto, always or never")
        return settings


def _made(name: str, concern: type, given: Mapping[str, Any]) -> Any:
    try:
        return concern(**given)
    except ValueError as error:
        field_name, why = error.args
        variable = f"RUBICON_SENSOR_{name}_{field_name}".upper()
        raise StartFailed(f"{variable}={given[field_name]}: {why}") from None


def _parsed(variable: str, text: str, setting: Field[Any]) -> Any:
    if setting.type == "str":
        return text
    try:
        value = int(text) if setting.type == "int" else float(text)
    except ValueError:
        raise StartFailed(f"{variable}={text!r}: give a number ({setting.type})") from None
    below = setting.metadata.get("below", 1e9)
    if not 0 < value < below:
        raise StartFailed(f"{variable}={text!r}: give a number above zero and below {below:g}")
    return value
