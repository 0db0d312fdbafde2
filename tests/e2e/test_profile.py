"""What `rubicon run` takes away from CMD, by programs that try it; who keeps what, and how it fails."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubicon.cli.launch.profile import lists
from tests.e2e.host import BIN, Host

pytestmark = pytest.mark.root
NOBODY = 65534
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
MASK = sum(1 << capability.number for capability in lists.DROPPED)
OTHER_FAMILIES = {"AF_PACKET": 17, "AF_ALG": 38, "AF_VSOCK": 40, "AF_XDP": 44, "AF_RDS": 21, "AF_BLUETOOTH": 31}


@pytest.fixture(scope="module")
def calls() -> Iterator[str]:
    """programs/calls.c, and beside it the same, setuid root; everybody may run them."""
    folder = Path("/run") / f"rubicon-calls-{os.getpid()}"
    folder.mkdir(mode=0o755)
    source = Path(__file__).parent / "programs/calls.c"
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", folder / "calls", source], check=True)
    shutil.copy(folder / "calls", folder / "setuid")
    (folder / "setuid").chmod(0o4755)
    yield str(folder / "calls")
    shutil.rmtree(folder)


def tried(host: Host, calls: str, *names: str, options: tuple[str, ...] = ()) -> list[str]:
    """What each call said under `rubicon run`."""
    done = host.rubicon("run", "-q", *options, "--", calls, *names, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def status(text: str) -> dict[str, int]:
    """Numbers of /proc/PID/status, the capability sets as masks."""
    pairs = (line.split(":\t") for line in text.splitlines() if ":\t" in line)
    return {name: int(value, 16) for name, value in pairs if name in (*SETS, "NoNewPrivs", "Seccomp")}


def own(host: Host, *options: str) -> dict[str, int]:
    done = host.rubicon("run", "-q", *options, "--", "cat", "/proc/self/status", cwd="/")
    assert done.returncode == 0, done.stderr
    return status(done.stdout)


def test_calls_are_refused(host: Host, calls: str) -> None:
    refused = ("bpf", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register")
    assert tried(host, calls, *refused) == ["EPERM", "EPERM", "ENOSYS", "ENOSYS", "ENOSYS"]
    assert tried(host, calls, *refused, options=("--user", "nobody")) == ["EPERM", "EPERM", *["ENOSYS"] * 3]


def test_only_four_families_are_left(host: Host, calls: str) -> None:
    families = [*OTHER_FAMILIES.values(), 0, 3, 15, 45]
    wanted = ["EAFNOSUPPORT"] * len(families)
    for kind in ("socket", "datagram", "pair"):
        assert tried(host, calls, *(f"{kind}:{family}" for family in families)) == wanted
    assert tried(host, calls, *(f"datagram:{family.number}" for family in lists.FAMILIES)) == ["ok"] * 4
    assert tried(host, calls, "pair:1", "inet", "raw") == ["ok", "ok", "EPERM"]


def test_a_family_with_high_bits_is_no_way_round(host: Host, calls: str) -> None:
    assert tried(host, calls, f"socket:{0x1_0000_0011}", f"datagram:{0x8000_0000_0000_0028}") == ["EAFNOSUPPORT"] * 2


@pytest.mark.parametrize("abi", ["x32", "i386"])
def test_calls_of_another_abi_end_the_process(host: Host, calls: str, abi: str) -> None:
    done = host.rubicon("run", "-q", "--", calls, abi)
    assert (done.returncode, done.stdout) == (128 + 31, "")


def test_capabilities_are_gone_from_every_set(host: Host) -> None:
    before, after = status(Path("/proc/self/status").read_text()), own(host)
    assert [after[name] & MASK for name in SETS] == [0] * 5
    assert after["CapBnd"] == before["CapBnd"] & ~MASK, "and no other"
    assert (after["Seccomp"], after["NoNewPrivs"]) == (2, 0)


def test_also_those_that_the_caller_would_hand_down(host: Host) -> None:
    inherited = [
        "setpriv",
        "--inh-caps=+net_raw,+sys_ptrace,+net_bind_service",
        "--ambient-caps=+net_raw,+sys_ptrace,+net_bind_service",
    ]
    command = [*inherited, *host.command("run", "-q", "--", "cat", "/proc/self/status")]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, check=True)
    assert status(done.stdout)["CapInh"] == status(done.stdout)["CapAmb"] == 1 << 10  # net_bind_service


def test_what_root_loses_and_keeps(host: Host, calls: str) -> None:
    assert tried(host, calls, "mount", "unshare-net", "trace-parent") == ["EPERM"] * 3
    assert tried(host, calls, "trace-child", "keyctl", "inet") == ["ok"] * 3
    sensor = host.daemon("rubicon-sensor")
    for file in ("environ", "mem", "root/"):
        for user, answer in (("root", "No such file or directory"), ("nobody", "Permission denied")):
            done = host.rubicon("run", "-q", "--user", user, "--", "head", "-c1", f"/proc/{sensor}/{file}", cwd="/")
            assert done.stderr.endswith(f"{answer}\n")
    done = host.rubicon("run", "-q", "--", "sh", "-c", "chown 1:1 /proc/self/fd/3 3>$(mktemp) && nice -n -5 true")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_keeps_what_needs_no_rights(host: Host, calls: str) -> None:
    assert tried(host, calls, "trace-child", "keyctl", "inet", options=("--user", "nobody")) == ["ok"] * 3


def test_a_user_namespace_gives_rights_inside_itself_only(host: Host, calls: str) -> None:
    script = (
        f"unshare --user --map-root-user --net --mount {calls} raw mount socket:17 bpf perf_event_open io_uring_setup"
    )
    for user in ("root", "nobody"):
        done = host.rubicon("run", "-q", "--user", user, "--", "sh", "-c", script, cwd="/")
        # its own, empty network may be used raw; ENODEV: it may mount, and there is no such file system
        assert done.stdout.split() == ["ok", "ENODEV", "EAFNOSUPPORT", "EPERM", "EPERM", "ENOSYS"], done.stderr
    script = f"unshare --user --map-root-user {calls} raw unshare-net; nsenter --net=/proc/1/ns/net true 2>&1"
    done = host.rubicon("run", "-q", "--", "sh", "-c", script)
    assert done.stdout.split()[:2] == ["EPERM", "ok"], "the host's network is not its own"
    assert done.returncode == 1
    assert "nsenter" in done.stdout


def test_setuid_programs_work_and_stay_under_the_profile(host: Host, calls: str) -> None:
    setuid = str(Path(calls).with_name("setuid"))
    tests = ("euid", "bpf", "mount", "socket:17", "io_uring_setup")
    done = host.rubicon("run", "-q", "--user", "nobody", "--", setuid, *tests, cwd="/")
    assert done.stdout.split() == ["0", "EPERM", "EPERM", "EAFNOSUPPORT", "ENOSYS"]
    done = host.rubicon("run", "-q", "--user", "nobody", "--no-new-privs", "--", setuid, "euid", cwd="/")
    assert done.stdout.split() == [str(NOBODY)]
    assert own(host, "--no-new-privs")["NoNewPrivs"] == 1


def test_privileged_takes_nothing_away(host: Host, calls: str) -> None:
    before, after = status(Path("/proc/self/status").read_text()), own(host, "--privileged")
    assert {name: after[name] for name in SETS} == {name: before[name] for name in SETS}
    assert (after["Seccomp"], after["NoNewPrivs"]) == (0, 0)
    allowed = ("bpf", "perf_event_open", "io_uring_setup", "socket:17", "raw", "unshare-net")
    assert tried(host, calls, *allowed, options=("--privileged",)) == ["ok"] * 6
    assert tried(host, calls, "mount", "i386", options=("--privileged",)) == ["ENODEV", "ok"]


def outsider(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A member of group rubicon who is not root; reading is allowed, the interpreter may lie in a folder of root's."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={grp.getgrnam('rubicon').gr_gid}"]
    command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", *host.command(*arguments)]
    return subprocess.run(command, env=host.environment, cwd="/", capture_output=True, text=True, check=False)


def test_who_is_not_root_gets_no_new_privs_and_is_told(host: Host, calls: str) -> None:
    setuid = str(Path(calls).with_name("setuid"))
    tests = ("euid", "bpf", "perf_event_open", "io_uring_setup", "socket:17", "inet")
    done = outsider(host, "run", "--", setuid, *tests)
    assert done.stdout.split() == [str(NOBODY), "EPERM", "EPERM", "ENOSYS", "EAFNOSUPPORT", "ok"], done.stderr
    assert "only root may launch CMD without no_new_privs: sudo" in done.stderr
    assert "no_new_privs" not in outsider(host, "run", "--no-new-privs", "--", "true").stderr
    shown = outsider(host, "run", "--profile", "show").stdout
    assert "you lack the rights" in shown
    assert outsider(host, "run", "-q", "--privileged", "--", setuid, "euid").stdout == "0\n"


def test_root_without_cap_sys_admin_gets_no_new_privs_too(host: Host) -> None:
    command = ["setpriv", "--bounding-set=-sys_admin", *host.command("run", "--", "cat", "/proc/self/status")]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, check=True)
    after = status(done.stdout)
    assert (after["NoNewPrivs"], after["Seccomp"], after["CapBnd"] & MASK, after["CapPrm"] & MASK) == (1, 2, 0, 0)
    assert "no_new_privs" in done.stderr


def test_cmd_does_not_run_where_the_kernel_refuses_the_profile(host: Host) -> None:
    script = (
        "import os, sys, pyseccomp as s; f = s.SyscallFilter(s.ALLOW);"
        "f.add_rule(s.ERRNO(13), 'seccomp', s.Arg(0, s.EQ, 1), s.Arg(2, s.NE, 0)); f.load();"  # a filter, no probe
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, str(BIN / "rubicon"), "run", "--", "echo", "it ran"]
    done = subprocess.run(command, env=host.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert "the kernel refuses the launch profile, and so echo was not run: Permission denied" in done.stderr


def test_statuses_pass_under_either(host: Host) -> None:
    for options in ((), ("--privileged",), ("--no-new-privs",)):
        assert host.rubicon("run", *options, "--", "sh", "-c", "exit 42").returncode == 42
        assert host.rubicon("run", *options, "--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15
        assert host.rubicon("run", *options, "--", "/nowhere").returncode == 127
