"""What this host really shows, as the plane and `rubicon coverage` get it.

The loader reports what each hook came to. What no hook of this version carries is added here, as missing and in words:
silence in the list would be read as "seen"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from rubicon.v1 import coverage_pb2
from sensor.collect.clock import kernel_release

State = Literal["full", "partial", "missing"]
_STATES = {
    "full": coverage_pb2.COVERAGE_STATE_FULL,
    "partial": coverage_pb2.COVERAGE_STATE_PARTIAL,
    "missing": coverage_pb2.COVERAGE_STATE_MISSING,
}


class Fact(Protocol):
    """One fact as sensor.kernel reports it."""

    @property
    def fact(self) -> str: ...
    @property
    def hook(self) -> str: ...
    @property
    def mechanism(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def missing(self) -> str: ...
    @property
    def dies_with_sensor(self) -> bool: ...


class _Known(NamedTuple):
    fact: str
    state: State
    missing: str
    hook: str = ""
    mechanism: str = ""
    dies_with_sensor: bool = False


UNHOOKED: tuple[_Known, ...] = (
    _Known(
        "work-by-proxy",
        "partial",
        "what a broker does on request (tmux or screen server, systemd-run, D-Bus, docker, at, cron, ssh to localhost) "
        "runs outside the agent's tree; only the request, as a connect to the broker, is seen",
        "cgroup/connect_unix",
        "cgroup",
    ),
    _Known("files", "missing", "opening, reading, writing and renaming files is not seen; executed files are, by exec"),
    _Known(
        "raw-sockets",
        "missing",
        "AF_PACKET and AF_XDP pass no cgroup hook: an agent with NET_RAW can send frames unseen",
    ),
    _Known(
        "vsock",
        "missing",
        "AF_VSOCK passes no cgroup hook",
    ),
    _Known(
        "accept",
        "partial",
        "an accepted connection is attributed to the owner of the listening socket, not to who called accept()",
        "sockops",
        "cgroup",
    ),
    _Known("descriptor-passing", "partial", "a socket that is handed over (SCM_RIGHTS) keeps the owner that opened it"),
    _Known("gpu", "missing", "use of GPU and other devices is not seen"),
    _Known("dns", "partial", "names are seen only as far as the first payload bytes of a flow show them"),
    _Known("tls-content", "missing", "what is inside encrypted flows is not read; sizes and first bytes are"),
    _Known(
        "undo-by-host-root",
        "partial",
        "an agent with SYS_ADMIN or BPF on the host can detach hooks for a second and load programs that change the maps; "
        "what it changes is put right, and it is named",
    ),
    _Known("snapshot", "full", "", "/proc", "read at enrolment", True),
    _Known("delivery", "full", "", "spool", "disk, acknowledged by the plane", True),
)
"""Facts that no single hook of this version carries."""
_WITHOUT_UNIX = _Known(
    "work-by-proxy",
    "partial",
    "this kernel has no hook for Unix sockets (6.7): what is asked of a tmux or screen server, systemd, D-Bus or docker is not "
    "seen, only at and crontab by their exec, and ssh to localhost by its connect; what those start is not in the tree",
    "sched_process_exec, pre_connect",
    "tp_btf, cgroup",
)


def coverage(facts: Iterable[Fact], host: str, loader: str = "libbpf") -> coverage_pb2.Coverage:
    """The host's coverage: the loader's facts in their order, then what no hook carries and the loader did not name."""
    told = coverage_pb2.Coverage(host=host, kernel=kernel_release(), loader=loader)
    named: set[str] = set()
    for fact in facts:
        named.add(fact.fact)
        _add(told, fact)
    blind = any(
        fact.fact == "unix_connect" and fact.state == coverage_pb2.COVERAGE_STATE_MISSING for fact in told.facts
    )
    for known in UNHOOKED:
        if known.fact not in named:
            _add(told, _WITHOUT_UNIX if blind and known.fact == _WITHOUT_UNIX.fact else known)
    return told


def _add(told: coverage_pb2.Coverage, fact: Fact | _Known) -> None:
    told.facts.add(
        fact=fact.fact,
        hook=fact.hook,
        mechanism=fact.mechanism,
        state=_STATES.get(fact.state, coverage_pb2.COVERAGE_STATE_UNSPECIFIED),
        missing=fact.missing,
        dies_with_sensor=fact.dies_with_sensor,
    )
