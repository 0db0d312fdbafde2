"""The launch profile's lists, what is made of them, and what `--profile show` says. Nothing is put in force here."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubicon.cli.launch.profile import calls, landlock, lists, oci
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
    names = "NET_RAW NET_ADMIN SYS_ADMIN BPF PERFMON SYS_MODULE SYS_PTRACE SYS_RAWIO SYS_BOOT SYS_RESOURCE SYS_TIME"
    assert {capability.name for capability in lists.DROPPED} == {f"CAP_{name}" for name in names.split()}


def test_the_filter_refuses_what_the_lists_say(tmp_path: Path) -> None:
    made = calls.built()
    with (tmp_path / "filter").open("w") as file:
        made.export_pfc(file)  # type: ignore[attr-defined]
    text = (tmp_path / "filter").read_text()
    for call in lists.REFUSED:
        assert re.search(rf'syscall "{call.name}" .*\n.*\n +action ERRNO\({call.errno}\)', text), call.name
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
        "calls_refused": {call.name: errno.errorcode[call.errno] for call in lists.REFUSED},
        "socket_families": ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"],
        "other_families": "EAFNOSUPPORT",
        "foreign_abi": "SIGSYS",
        "signals_outside": "EPERM" if landlock.available() else None,
        "no_new_privs": True,
        "no_new_privs_forced": False,
    }
    (shown,) = cli("run", "--privileged", "--profile", "show", "--json").json
    assert (shown["restricted"], shown["capabilities_dropped"], shown["calls_refused"]) == (False, [], {})


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


def test_the_oci_filter_has_one_condition_a_rule() -> None:
    rules = oci.seccomp()["syscalls"]
    assert all(len(rule.get("args", [])) <= 1 for rule in rules), "several in one rule must all hold"
    assert {name for rule in rules for name in rule["names"]} == {call.name for call in lists.REFUSED} | {
        *lists.SOCKET_CALLS
    }
