"""Against the kernel's side: maps, links and pins, mounts, namespaces, limits, clock, devices."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.adversary.field import Container, privileged, under_profile
from tests.e2e.adversary.rows import DONE, EITHER, NO_FAMILY, NOT_THERE, REFUSED, Row, check
from tests.e2e.host import Host

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

ANY_FAMILY = EITHER | NO_FAMILY | {"ENODEV", "ESOCKTNOSUPPORT"}


def pins(host: Host) -> Path:
    return Path("/sys/fs/bpf") / host.instance.name


def test_maps_links_and_pins(host: Host, container: Container) -> None:
    """bpf(2) is refused by the filter, and without the capabilities by the kernel. Host root may do all of it, see
    `test_host_root_cannot_take_its_own_tag_away`."""
    maps = sorted((pins(host) / "maps").iterdir())
    links = sorted(path for path in (pins(host) / "links").iterdir() if not path.name.startswith("watch-"))
    assert maps
    assert links
    rows = [Row("map-ids"), Row("map-by-id:1", host=NOT_THERE | DONE), Row("link-by-id:1", host=NOT_THERE | DONE)]
    rows += [Row(f"pinned:{path}") for path in (*maps, *links)]
    check(host, container, rows)
    words = [f"detach:{links[0]}", f"delete-tag:{pins(host)}/maps/tags"]
    for adversary in (container, lambda *words: under_profile(host, *words)):
        assert set(adversary(*words)) <= REFUSED
    assert all(path.exists() for path in (*maps, *links))


def test_pins_as_files(host: Host, container: Container) -> None:
    """Who unlinks a pin detaches the hook, unless the sensor has it open. Only with all rights is there one to be seen."""
    links = [path for path in (pins(host) / "links").iterdir() if not path.name.startswith("watch-")]
    paths = [pins(host) / "maps/tags", *links]
    words = [f"remove:{path}" for path in paths] + [f"move-away:{path}" for path in paths]
    assert set(container(*words)) <= NOT_THERE | REFUSED
    assert set(under_profile(host, *words)) == {"ENOENT"}
    assert set(under_profile(host, "unmount:/sys/fs/bpf", "in-user-namespace:unmount,/sys/fs/bpf")) <= REFUSED
    assert all(path.exists() for path in paths)


def test_bpftool(host: Host) -> None:
    tags = pins(host) / "maps/tags"
    listed = json.loads(subprocess.run(["bpftool", "-j", "map", "show", "pinned", tags], capture_output=True).stdout)
    command = ["bpftool", "map", "delete", "id", str(listed["id"]), "key", "1", "0", "0", "0"]
    done = host.rubicon("run", "-q", "--user", "root", "--", *command)
    assert done.returncode
    assert "Operation not permitted" in done.stdout + done.stderr


def test_host_root_cannot_take_its_own_tag_away(host: Host) -> None:
    """The map is frozen: the kernel lets nobody change it through bpf(2). By a program of its own: test_host_root.py."""
    assert privileged(host, f"delete-tag:{pins(host)}/maps/tags") == ["EPERM"]


def test_mounts(host: Host, container: Container) -> None:
    """In a user namespace only what shows nothing new may be mounted."""
    kinds = ("bpf", "cgroup2", "proc", "tmpfs")
    rows = [Row(f"mount:{kind}") for kind in kinds]
    rows += [Row(f"in-user-namespace:mount,{kind}", host=REFUSED) for kind in kinds[:3]]
    rows += [Row("in-user-namespace:unmount,/proc", host=REFUSED), Row("in-user-namespace:unmount,/sys", host=EITHER)]
    rows += [Row(f"in-cgroup-namespace:mount,{kind}", host=EITHER) for kind in ("cgroup2", "cgroup")]
    rows += [Row("born-in-cgroup-namespace"), Row("writable-again:/sys", host=EITHER)]
    check(host, container, rows)


def test_namespaces_of_the_host(host: Host, container: Container) -> None:
    """By /proc/1/ns, a pidfd, /proc/1/root. For host root pid 1 may be out of reach as well: it is as the host has it."""
    kinds = ("mnt", "net", "pid", "cgroup", "uts", "ipc", "user")
    rows = [Row(f"enter:1,{kind}", host=EITHER) for kind in kinds]
    rows += [Row(f"in-user-namespace:enter,1,{kind}", host=EITHER) for kind in kinds]
    rows = [dataclasses.replace(row, launched=REFUSED | NOT_THERE) for row in rows]
    rows += [Row("enter-by-pidfd:1", host=EITHER), Row("root-of:1", DONE | REFUSED, NOT_THERE, EITHER)]
    sensor = host.daemon("rubicon-sensor")
    rows += [Row(f"enter:{sensor},{kind}", NOT_THERE, NOT_THERE) for kind in ("mnt", "net")]
    check(host, container, rows)
    done = host.rubicon(
        "run", "-q", "--user", "root", "--", "nsenter", "--target", str(sensor), "--mount", "--net", "true"
    )
    assert done.returncode


def test_limits_clock_and_machine(host: Host, container: Container) -> None:
    rows = [
        Row("set-clock"),
        Row("in-user-namespace:set-clock", host=REFUSED),
        Row("raise-limit:RLIMIT_NOFILE", REFUSED | {"EINVAL"}, REFUSED, EITHER),
        Row("write:/proc/self/oom_score_adj,-1000", host=EITHER),
        Row("open-file:/dev/mem", NOT_THERE | REFUSED, NOT_THERE | REFUSED, NOT_THERE | DONE),
    ]
    check(host, container, rows)


def test_programs_of_the_kernels(host: Host, container: Container) -> None:
    """What the kernel can be told to run as root, outside every tree; and its switches in /proc and /sys."""
    sysrq = NOT_THERE if not Path("/proc/sysrq-trigger").exists() else frozenset()
    rows = [
        Row("open-file:/proc/sys/kernel/core_pattern,w"),
        Row("on-new-proc:open-file,sys/kernel/core_pattern,w", host=EITHER),
        Row("open-file:/proc/sysrq-trigger,w", REFUSED | sysrq, REFUSED | sysrq, DONE | sysrq),
        Row("on-new-proc:open-file,sysrq-trigger,w", host=EITHER),
        Row("open-file:/sys/kernel/mm/ksm/run,w", REFUSED | NOT_THERE, REFUSED | NOT_THERE, DONE | NOT_THERE),
        Row("open-file:/sys/power/state,w", REFUSED | NOT_THERE, REFUSED | NOT_THERE, DONE | NOT_THERE),
        Row("open-file:/sys/kernel/profiling,w", REFUSED | NOT_THERE, REFUSED | NOT_THERE, DONE | NOT_THERE),
        Row("ask-for-a-key", host=frozenset({"ENOENT", "ENOKEY"})),
    ]
    check(host, container, rows)
    writable = [path for path in Path("/sys").glob("*/*") if path.is_file() and path.stat().st_mode & 0o200]
    assert writable
    assert set(under_profile(host, *(f"open-file:{path},w" for path in writable))) == {"EROFS"}


def test_terminals_and_snapshots(host: Host, container: Container) -> None:
    """Typing for somebody else; a copy in which nothing is covered. The kernel reads 32 bits of the number."""
    rows = [Row(f"type-in:{number}") for number in (0x5412, 0x1_0000_5412)]
    rows += [Row("paste", host=frozenset({"ENOTTY"}))]
    rows += [Row(f"snapshot:{number}", host=EITHER | {"ENOTTY"}) for number in ("50009401", "50009417", "150009417")]
    check(host, container, rows)


def test_devices(host: Host, container: Container) -> None:
    """A disk has the key and the database on it, whatever is mounted: no block device can be opened, and none can be made."""
    nodes = [path for path in Path("/dev").rglob("*") if path.is_block_device()]
    assert nodes
    opened = under_profile(host, *(f"open-file:{path},{how}" for path in nodes for how in "rw"))
    assert set(opened) == {"EACCES"}
    assert set(under_profile(host, *(f"in-user-namespace:writable-again,{path}" for path in nodes[:3]))) == {"EPERM"}
    rows = [Row(f"open-file:{nodes[0]}", NOT_THERE | REFUSED, host=EITHER | {"ENXIO", "ENOMEDIUM"})]
    number = nodes[0].stat().st_rdev
    rows += [Row(f"device:{os.major(number)},{os.minor(number)}", host=EITHER | {"ENXIO"})]
    check(host, container, rows)
    ordinary = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
    opened = under_profile(host, *(f"open-file:/dev/{name}" for name in ordinary))
    assert opened == ["ok" if name != "tty" else "ENXIO" for name in ordinary], "they are as they were"


def test_network_without_sockets(host: Host, container: Container) -> None:
    """Packets of a TUN device, a bridge or a tunnel belong to no socket, and so to no agent."""
    rows = [
        Row("tun", NOT_THERE | REFUSED),
        Row("in-user-namespace:tun", NOT_THERE | REFUSED, host=REFUSED),
        Row("make-link", launched=REFUSED),
        Row("raw:2"),
        Row("raw:10,58"),
        Row("raw:2,255"),
    ]
    rows += [Row(f"kinds:{family}", NO_FAMILY, NO_FAMILY, ANY_FAMILY) for family in (17, 38, 40, 44)]
    check(host, container, rows)
