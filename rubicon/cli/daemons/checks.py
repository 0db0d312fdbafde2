"""What `rubicon doctor` looks at: each check says what holds, or what to do about it."""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rubicon.cli.daemons import settings
from rubicon.client.errors import RubiconError
from rubicon.client.local import LocalSocket
from rubicon.client.sync import Client
from rubicon.v1.instance import Instance


@dataclass(frozen=True, slots=True)
class Check:
    """One line: `state` is ok, warning (something is seen less well) or failed (Rubicon cannot work)."""

    name: str
    state: str
    found: str
    advice: str = ""


def checks(instance: Instance) -> Iterator[Check]:
    """All checks, in the order in which they build on one another; each is made when it is asked for."""
    for check in _HOST:
        yield check()
    yield _settings(instance)
    yield from _daemons(instance)


def _kernel() -> Check:
    release = platform.release()
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return Check("kernel", "failed", f"{release} has no BTF", "use a kernel with CONFIG_DEBUG_INFO_BTF=y")
    return Check("kernel", "ok", f"{release}, with BTF")


def _libbpf() -> Check:
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        return Check("libbpf", "failed", "libbpf.so.1 is missing", "apt-get install libbpf1")
    return Check("libbpf", "ok", "libbpf.so.1")


def _libseccomp() -> Check:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        found = "libseccomp.so.2 is missing: 'rubicon run' works with --privileged only"
        return Check("libseccomp", "warning", found, "apt-get install libseccomp2")
    return Check("libseccomp", "ok", "libseccomp.so.2")


def _cgroup() -> Check:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup2 "):
                return Check("cgroup v2", "ok", left.split(" ")[4])
    return Check("cgroup v2", "failed", "not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")


def _lockdown() -> Check:
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return Check("lockdown", "ok", "not known here: securityfs is not mounted")
    mode = text.partition("[")[2].partition("]")[0] or "none"
    if mode == "confidentiality":
        return Check(
            "lockdown", "failed", mode, "BPF may not read kernel memory: boot without lockdown=confidentiality"
        )
    return Check("lockdown", "ok", mode)


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", "ok", "root")
    with contextlib.suppress(KeyError):
        if grp.getgrnam("rubicon").gr_gid in os.getgroups():
            return Check("rights", "ok", "member of group rubicon: may use it, not start it")
    return Check("rights", "warning", "neither root nor in group rubicon", "use sudo, or 'usermod -aG rubicon $USER'")


_HOST: tuple[Callable[[], Check], ...] = (_kernel, _libbpf, _libseccomp, _cgroup, _lockdown, _rights)


def _settings(instance: Instance) -> Check:
    found = settings.problem(instance)
    if not found:
        return Check("settings", "ok", "can be" if settings.given(instance) else "none given")
    message, _, advice = found.rpartition("; ")
    if os.geteuid() and "Permission denied" in found:
        return Check("settings", "warning", message, "only root may look")
    return Check("settings", "failed", message, f"{advice}: the plane does not start with them")


def _daemons(instance: Instance) -> Iterator[Check]:
    try:
        status = LocalSocket(instance).call("status", timeout=5)
    except RubiconError as error:
        yield Check("sensor", "failed", error.message, error.hint)
        return
    version, pid = status.get("version"), status.get("pid")
    yield Check("sensor", "ok", f"version {version}, pid {pid}, {status.get('agents')} agents")
    if status.get("uplink") != "connected":
        found = str(status.get("uplink_error") or status.get("uplink"))
        yield Check("plane", "failed", found, "read 'rubicon logs plane'; the sensor keeps recording meanwhile")
        return
    try:
        with Client(instance) as client:
            yield Check("plane", "ok" if client.healthy() else "failed", "serves, by the gRPC health check")
            yield from _coverage(client)
            yield Check("pipeline", "ok", f"a synthetic event went through in {client.probe() * 1000:.0f} ms")
    except RubiconError as error:
        yield Check("plane", "failed", error.message, error.hint)


def _coverage(client: Client) -> Iterator[Check]:
    for host in client.coverage():
        less = [fact.fact for fact in host.facts if fact.mechanism and fact.state != "full"]
        if less:
            yield Check(
                "coverage", "warning", f"{host.host}: less than full: {', '.join(less)}", "see 'rubicon coverage'"
            )
        else:
            yield Check("coverage", "ok", f"{host.host}: every hook is attached")
