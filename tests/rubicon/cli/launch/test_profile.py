"""The launch profile's lists, what is made of them, and what `--profile show` says. Nothing is put in force here."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubicon.cli.launch.profile import calls, landlock, lists, mounts, oci, show, walls
from rubicon.cli.launch.profile.launch import Profile, chosen
from rubicon.client.errors import RubiconError
from tests.docs.pages import REPOSITORY
from tests.rubicon.cli.conftest import Cli

KEPT = {family.number for family in lists.FAMILIES}


def refused(family: int) -> bool:
    met = {"LT": int.__lt__, "EQ": int.__eq__, "GT": int.__gt__}
    return any(met[condition.comparison](family, condition.number) for condition in lists.refused_families())


@pytest.mark.parametrize("family", range(64))
def test_families(family: int) -> None:
    assert refused(family) == (family not in KEPT)


@given(st.integers(0, 2**64 - 1))
def test_a_family_that_the_kernel_cuts_to_32_bits_is_no_way_round(register: int) -> None:
    assert refused(register) == (register not in KEPT)


def test_numbers_are_those_of_this_system() -> None:
    for family in lists.FAMILIES:
        assert getattr(socket, family.name) == family.number
    header = Path("/usr/include/linux/capability.h").read_text()
    for capability in lists.DROPPED:
        assert re.search(rf"#define {capability.name}\s+{capability.number}\b", header), capability.name
    for name in lists.CONTAINER:
        assert re.search(rf"#define {name}\s", header), name


def test_a_container_keeps_nothing_that_run_takes_away() -> None:
    assert not {capability.name for capability in lists.DROPPED} & set(lists.CONTAINER)
    names = (
        "NET_RAW NET_ADMIN SYS_ADMIN BPF PERFMON SYS_MODULE SYS_PTRACE SYS_RAWIO SYS_BOOT SYS_RESOURCE SYS_TIME MKNOD"
    )
    assert {capability.name for capability in lists.DROPPED} == {f"CAP_{name}" for name in names.split()}


def test_the_filter_refuses_what_the_lists_say(tmp_path: Path) -> None:
    made = calls.built()
    with (tmp_path / "filter").open("w") as file:
        made.export_pfc(file)  # type: ignore[attr-defined]
    text = (tmp_path / "filter").read_text()
    for call in lists.REFUSED:
        [block] = [part for part in text.split("# filter for syscall ") if part.startswith(f'"{call.name}" ')]
        assert f"action ERRNO({call.errno});" in block, call.title
        for one in call.where:
            condition = (
                rf"\$a{one.place}\.lo32 & {one.mask:#010x} == {one.number}\)"
                if one.mask
                else rf"\$a{one.place}\.lo32 == 0"
            )
            assert re.search(condition, block), call.title
    assert text.count(f"ERRNO({lists.OTHER_FAMILIES})") >= 2 * len(list(lists.refused_families()))
    assert re.search(r"# invalid architecture action\naction KILL_PROCESS;", text)
    assert re.search(r"# default action\n +action ALLOW;", text)


def test_the_import_starts_no_program_and_leaves_ctypes_as_it_is() -> None:
    script = (
        "import sys; from rubicon.cli.launch.profile import calls; calls.built();"
        "assert 'subprocess' not in sys.modules and 'ctypes.util' not in sys.modules;"
        "import ctypes, ctypes.util; assert ctypes.util.find_library('c'); calls.built()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd="/")


def test_without_libseccomp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(calls._SONAMES, "seccomp", "libseccomp.so.99")
    with pytest.raises(RubiconError, match=r"libseccomp.*missing") as caught:
        chosen(privileged=False, no_new_privs=False).ready()
    assert "libseccomp2" in caught.value.hint
    assert "--privileged" in caught.value.hint
    assert not chosen(privileged=True, no_new_privs=False).ready().restricted


def test_a_profile_that_is_not_ready_is_never_passed_over() -> None:
    with pytest.raises(AssertionError):
        Profile(restricted=True, no_new_privs=False).apply()


def test_show_json(cli: Cli) -> None:
    (shown,) = cli("run", "--profile", "show", "--json", "--no-new-privs").json
    assert shown == {
        "restricted": True,
        "capabilities_dropped": [capability.name for capability in lists.DROPPED],
        "calls_refused": {call.title: errno.errorcode[call.errno] for call in lists.REFUSED},
        "walls": {wall.what: wall.answer for wall in show.walls()} if os.geteuid() == 0 else {},
        "socket_families": ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
        "other_families": "EAFNOSUPPORT",
        "foreign_abi": "SIGSYS",
        "signals_outside": "EPERM" if landlock.available() else None,
        "no_new_privs": True,
        "no_new_privs_forced": False,
    }
    (shown,) = cli("run", "--privileged", "--profile", "show", "--json").json
    assert (shown["restricted"], shown["capabilities_dropped"], shown["calls_refused"]) == (False, [], {})
    assert shown["walls"] == {}


@pytest.mark.parametrize("tty", [False, True])
def test_show(cli: Cli, tty: bool) -> None:
    done = cli("run", "--profile", "show", tty=tty)
    assert done.code == 0
    for word in ("CAP_SYS_ADMIN", "io_uring_setup", "ENOSYS", "AF_NETLINK", "EAFNOSUPPORT", "SIGSYS", "no_new_privs"):
        assert word in done.out
    assert "keeps every right" in cli("run", "--privileged", "--profile", "show", tty=tty).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--privileged", "--no-new-privs", "--", "true"), "contradict"),
        (("--json", "--", "true"), "--profile show"),
        (("--profile", "hide", "--", "true"), "show"),
        ((), "CMD"),
    ],
)
def test_bad_usage(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = cli("run", *arguments)
    assert done.code == 125
    assert said in done.err


def test_the_oci_files_are_up_to_date() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import generate; print([str(p) for p, t in generate.files().items() if p.read_text() != t])",
        ],
        cwd=REPOSITORY / "deploy/profile",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]", "run 'make generate' and commit"


def test_the_oci_filter_has_one_condition_for_an_argument() -> None:
    rules = oci.seccomp()["syscalls"]
    for rule in rules:
        places = [argument["index"] for argument in rule.get("args", [])]
        assert len(set(places)) == len(places), (
            "several in one rule must all hold, and of one argument the runtime takes one"
        )
    assert [len(rule["args"]) for rule in rules if rule["names"] == ["prlimit64"]] == [2]
    assert {name for rule in rules for name in rule["names"]} == {call.name for call in lists.REFUSED} | {
        *lists.SOCKET_CALLS
    }


def test_ioctl_numbers_are_those_of_this_system() -> None:
    numbers = {call.what: call.where[0].number for call in lists.REFUSED if call.name == "ioctl"}
    assert numbers["TIOCSTI"] == termios.TIOCSTI
    assert numbers["TIOCLINUX"] == termios.TIOCLINUX
    header = Path("/usr/include/linux/btrfs.h").read_text()
    for name, number in numbers.items():
        if name.startswith("BTRFS"):  # _IOW(0x94, N, 4096 bytes)
            found = re.search(
                rf"#define {name}\s+_IOW\(BTRFS_IOCTL_MAGIC, (\d+),\s*\\?\s*struct btrfs_ioctl_vol_args", header
            )
            assert found, name
            assert number == 1 << 30 | 4096 << 16 | 0x94 << 8 | int(found[1])


TABLE = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw
23 21 8:1 /var /srv/a\\040copy ro,nosuid,nodev,noexec,noatime shared:1 master:2 - ext4 /dev/sda1 rw
24 21 8:1 /var/lib/rubicon/spool /srv/part rw - ext4 /dev/sda1 rw
25 21 8:2 / /var/lib/rubicon/other rw - ext4 /dev/sda2 rw
"""


@pytest.fixture
def table() -> list[mounts.Mount]:
    return [mounts._parsed(line) for line in TABLE.splitlines()]


def test_mountinfo_is_read_as_the_kernel_writes_it(table: list[mounts.Mount]) -> None:
    assert [mount.point for mount in table][2:4] == ["/srv/a copy", "/srv/part"]
    assert table[2].flags == mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC | 1024
    assert [mount.kind for mount in table][:3] == ["ext4", "devtmpfs", "ext4"]
    assert [mount.number for mount in table] == [21, 22, 23, 24, 25]


def test_a_folder_is_found_wherever_it_is_mounted(table: list[mounts.Mount], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "samefile", lambda *_: True)
    found = list(walls._aliases("/var/lib/rubicon", table))
    assert found == ["/var/lib/rubicon", "/srv/a copy/lib/rubicon", "/srv/part"]
    monkeypatch.setattr(os.path, "samefile", lambda *_: False)  # something else lies over it there
    assert list(walls._aliases("/var/lib/rubicon", table)) == ["/var/lib/rubicon", "/srv/part"]


@pytest.mark.parametrize(
    ("path", "folder", "rest"),
    [("/a/b", "/", "a/b"), ("/a/b", "/a", "b"), ("/a/b", "/a/b", ""), ("/a/bc", "/a/b", None), ("/a", "/a/b", None)],
)
def test_below(path: str, folder: str, rest: str | None) -> None:
    assert walls._below(path, folder) == rest
