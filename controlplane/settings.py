"""The plane's settings: a dataclass per concern; each field says its unit, its default's reason.

Every field can be set by an environment variable RUBICON_PLANE_<CONCERN>_<FIELD> (upper case); a value that does not
parse is an error at start, never a silent default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How events and entities are kept."""

    busy_timeout: float = 2.0
    """Seconds to wait for a locked database before a write counts as failed. Another reader's checkpoint takes less."""
    give_up: float = 5.0
    """Seconds after which a batch that is not durable ends its stream with STORE_UNAVAILABLE (it stays queued)."""
    retry: float = 0.25
    """Seconds between attempts to write a group that failed."""
    group_events: int = 8_000
    """Events in one transaction at most: an fsync is paid per group, and one group is written in about 50 ms."""
    pending_events: int = 20_000
    """Events that may wait for the disk, over all sensors; beyond it streams are not read. About 20 MB as objects."""
    compact_events: int = 20_000
    """Events in a compacted segment: enough for zstd to find repetition, few enough to read one for one agent."""
    compact_after: float = 30.0
    """Seconds between looks for segments to compact."""


@dataclass(frozen=True, slots=True)
class WireSettings:
    """gRPC limits."""

    message_bytes: int = 16 * 1024 * 1024
    """Largest message that is read. The sensor keeps its batches below 4 MB; the rest is room."""
    keepalive: float = 10.0
    """Seconds between pings on an idle connection; a dead sensor's stream ends after twice this."""
    command_timeout: float = 30.0
    """Seconds that a sensor may take for a command. A kill of a fork bomb takes below one."""
    stop_grace: float = 3.0
    """Seconds that running calls get at SIGTERM."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Live watchers."""

    queue: int = 2_000
    """Items that may wait for one watcher; beyond it the watch ends with RESOURCE_EXHAUSTED."""
    watchers: int = 256
    """Watchers at once."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The audit, and how often it is signed."""

    checkpoint_records: int = 100
    """Records after which the chain is signed: what is not signed yet can be cut unseen while the plane is dead."""
    checkpoint_after: float = 60.0
    """Seconds after which it is signed while there are new records; a signature costs one fsync."""
    pending: int = 10_000
    """Records that may wait in memory for the disk, about 10 MB; those beyond it are only in the log, and are counted."""
    stop_grace: float = 2.0
    """Seconds that records get to be written when the plane stops; those that are late wait in a file for its next start."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    """The settings file."""

    file: str = ""
    """Path of the settings file, from the root. The instance's own in /etc, which may be missing, unless set."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Metrics."""

    file: str = ""
    """Path of a file, from the root, ending in .prom, that the plane writes in the Prometheus text format, for a node
    exporter's textfile collector; none unless set. It goes when the plane stops."""
    every: float = 15.0
    """Seconds after which it is written anew: the usual interval of a scrape."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them."""

    store: StoreSettings = field(default_factory=StoreSettings)
    wire: WireSettings = field(default_factory=WireSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    settings: FileSettings = field(default_factory=FileSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read them.

        Raises:
            ValueError: a variable has a value that is not a positive number, no path from the root where one is asked
                for, or names no setting.
        """
        concerns = {
            "store": StoreSettings,
            "wire": WireSettings,
            "watch": WatchSettings,
            "audit": AuditSettings,
            "settings": FileSettings,
            "metrics": MetricsSettings,
        }
        given: dict[str, dict[str, float | str]] = {name: {} for name in concerns}
        for variable, text in environment.items():
            if not variable.startswith("RUBICON_PLANE_"):
                continue
            concern, _, name = variable.removeprefix("RUBICON_PLANE_").lower().partition("_")
            known = {f.name: f for f in fields(concerns[concern])} if concern in concerns else {}
            if name not in known:
                raise ValueError(f"{variable}: there is no such setting")
            given[concern][name] = (
                _path(variable, text)
                if known[name].type == "str"
                else _number(variable, text, int if known[name].type == "int" else float)
            )
        return cls(
            StoreSettings(**given["store"]),  # type: ignore[arg-type]
            WireSettings(**given["wire"]),  # type: ignore[arg-type]
            WatchSettings(**given["watch"]),  # type: ignore[arg-type]
            AuditSettings(**given["audit"]),  # type: ignore[arg-type]
            FileSettings(**given["settings"]),  # type: ignore[arg-type]
            MetricsSettings(**given["metrics"]),  # type: ignore[arg-type]
        )


def _number(variable: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{variable}={text!r}: give a number ({kind.__name__})") from None
    if not 0 < value < 1e9:  # "nan" is neither
        raise ValueError(f"{variable}={text!r}: give a number above zero")
    return value


def _path(variable: str, text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{variable}={text!r}: give a path from the root: the daemon runs in another folder")
    return text
