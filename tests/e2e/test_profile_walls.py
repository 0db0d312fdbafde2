"""Walls round the daemons' files: for whom they stand, what is seen through them, and what still works behind them.

What root tries against them: tests/e2e/adversary.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rubicon.cli.launch.profile import walls
from tests.e2e.host import BIN, Host, until

pytestmark = pytest.mark.root


def run(host: Host, script: str, *options: str, around: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A shell script under `rubicon run`; `around` is what starts rubicon."""
    command = [*around, *host.command("run", "-q", *options, "--", "sh", "-uc", script)]
    return subprocess.run(
        command, env=host.environment, cwd="/", capture_output=True, text=True, check=False, timeout=90
    )


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_they_stand_for_everybody_and_only_there(host: Host, user: str) -> None:
    """sudo makes a user root: whoever begins as one has them too."""
    done = run(host, f"ls -A {host.instance.state_dir} | wc -l; readlink /proc/self/ns/mnt", "--user", user)
    seen, namespace = done.stdout.split()
    assert seen == "0"
    assert namespace != os.readlink("/proc/self/ns/mnt")
    assert host.instance.token_key.exists(), "the host has it"
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(host.instance.state_dir) not in mounts
    script = f"stat -c %s {host.instance.token_key}; readlink /proc/self/ns/mnt"
    done = run(host, script, "--privileged", "--user", "root")
    assert done.stdout.split() == ["32", os.readlink("/proc/self/ns/mnt")]


def test_cmd_does_not_run_where_the_kernel_refuses_a_mount(host: Host) -> None:
    for call in ("unshare", "mount"):
        script = (
            f"import os, sys, pyseccomp as s; f = s.SyscallFilter(s.ALLOW); f.add_rule(s.ERRNO(13), {call!r}); f.load();"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-c", script, str(BIN / "rubicon"), "run", "--", "echo", "it ran"]
        done = subprocess.run(command, env=host.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (125, "")
        assert (
            "the kernel refuses the launch profile's mounts, and so echo was not run: Permission denied" in done.stderr
        )


def test_sandboxes_of_users_still_have_a_proc_of_their_own(host: Host) -> None:
    """As bubblewrap makes one. For root /proc is covered, and the kernel allows none that is not."""
    script = "unshare --user --map-root-user --pid --fork --mount-proc sh -c 'echo $$; ls -d /proc/[0-9]* | wc -l' 2>&1"
    assert run(host, script, "--user", "nobody").stdout.split()[0] == "1"
    assert "Operation not permitted" in run(host, script, "--user", "root").stdout
    script = "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs t /mnt && mount --rbind /usr /mnt && ls /mnt/bin/sh'"
    for user in ("nobody", "root"):
        assert run(host, script, "--user", user).stdout == "/mnt/bin/sh\n"


def test_root_sees_its_own_processes_and_no_others(host: Host) -> None:
    begun = 'while [ "$(cat /proc/$!/comm)" != sleep ]; do :; done'
    script = f"sleep 60 & {begun}; ls -d /proc/$! /proc/$$ /proc/self; ps -e -o comm=; kill $!"
    done = run(host, script, "--user", "root")
    assert "sleep" in done.stdout
    assert "rubicon-sensor" not in done.stdout
    assert len(done.stdout.splitlines()) < 8
    assert "rubicon" in run(host, "ps -e -o comm=", "--user", "nobody").stdout, "a user sees what users see"


def test_what_root_still_does(host: Host, tmp_path: Path) -> None:
    steps = [
        "su -s /bin/sh nobody -c 'id -un'; id -un; cat /proc/sys/kernel/ostype",
        "ls /sys/devices /sys/class/net >/dev/null; cat /proc/self/cgroup /proc/mounts >/dev/null",
        "head -c 4 /dev/urandom >/dev/null; date >/dev/shm/rubicon-test; rm /dev/shm/rubicon-test",
        "echo 500 >/proc/self/oom_score_adj; ulimit -n 100; nice -n 5 true; renice -n 7 $$ >/dev/null",
        "taskset -p 1 $$ >/dev/null; lsblk >/dev/null; findmnt / >/dev/null; df / >/dev/null",
        f"mkfifo {tmp_path}/fifo; touch {tmp_path}/a; mv {tmp_path}/a /var/tmp/rubicon-test-$$; rm /var/tmp/rubicon-test-$$",
        "setsid true; echo end",
    ]
    script = "set -e; " + "; ".join(steps)
    done = run(host, script, "--user", "root")
    assert done.stdout.split() == ["nobody", "root", "Linux", "end"], done.stderr


def test_what_the_host_mounts_later_is_seen(host: Host, tmp_path: Path) -> None:
    """Where the host's mounts are shared, as systemd makes them."""
    place, ready = tmp_path / "later", tmp_path / "ready"
    place.mkdir()
    script = f"touch {ready}; until test -e {place}/there; do sleep 0.05; done; echo seen"
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "shared", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout
        holder.stdout.readline()
        enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--wd=/"]
        command = [*enter, *host.command("run", "-q", "--", "sh", "-c", script)]
        with subprocess.Popen(command, env=host.environment, stdout=subprocess.PIPE, text=True) as agent:
            until(ready.exists)
            subprocess.run([*enter, "mount", "-t", "tmpfs", "none", place], check=True)
            subprocess.run([*enter, "touch", place / "there"], check=True)
            assert agent.communicate(timeout=60)[0] == "seen\n"
    finally:
        holder.kill()
        holder.communicate()


def test_a_swap_file_is_hidden(host: Host, tmp_path: Path) -> None:
    """What the daemons had in memory may be in there. The kernel's table is replaced for the test: nothing is swapped to."""
    swap, table = tmp_path / "swap file", tmp_path / "swaps"
    swap.write_text("secret")
    name = str(swap).replace(" ", "\\040")
    table.write_text(f"Filename Type Size Used Priority\n{name} file 1024 0 -2\n/dev/zram0 partition 1024 0 100\n")
    around = ("unshare", "--mount", "sh", "-euc", f'mount --bind {table} /proc/swaps; exec "$@"', "sh")
    tmp_path.chmod(0o755)
    assert "Permission denied" in run(host, f"cat '{swap}'", "--user", "root", around=around).stderr
    assert "secret" in run(host, f"cat '{swap}'", "--user", "root", "--privileged", around=around).stdout


def test_the_sensor_sees_through_them(host: Host, tmp_path: Path) -> None:
    """Paths of what is executed, and configuration below /proc/PID/root, in another mount namespace."""
    program, config = tmp_path / "renamed", tmp_path / "config"
    shutil.copy("/bin/true", program)
    config.write_text("Host nowhere\n HostName 127.0.0.1\n Port 1\n RemoteForward 9000 127.0.0.1:80\n")
    # it waits for an answer that does not come, so that it is there while the sensor reads
    script = f"{program}; exec ssh -F {config} -o 'ProxyCommand sleep 600' nowhere"
    command = host.command("run", "-q", "--user", "root", "--name", "seen", "--", "sh", "-c", script)
    with subprocess.Popen(command, env=host.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        told = until(
            lambda: "9000 127.0.0.1:80" in (done := host.rubicon("events", "seen", "--json")).stdout and done.stdout
        )
        assert host.rubicon("kill", "seen").returncode == 0
        running.communicate(timeout=60)
    assert str(program) in told


def test_which_devices_are_refused(host: Host, tmp_path: Path) -> None:
    """Block devices, memory, and drivers by the kernel's own names for them; a node outside /dev opens nothing at all."""
    drivers = dict(line.split()[::-1] for line in Path("/proc/devices").read_text().split("\n\n")[0].splitlines()[1:])
    nodes = {"disk": (stat.S_IFBLK, 7, 0), "mem": (stat.S_IFCHR, 1, 1), "port": (stat.S_IFCHR, 1, 4)}
    nodes |= {name: (stat.S_IFCHR, int(drivers[name]), 0) for name in ("input", "bsg", "watchdog") if name in drivers}
    wanted = set(nodes)
    assert len(wanted) > 3
    nodes |= {"zero": (stat.S_IFCHR, 1, 5), "tty": (stat.S_IFCHR, 5, 0), "fuse": (stat.S_IFCHR, 10, 229)}
    (tmp_path / "below").mkdir()
    for name, (kind, major, minor) in nodes.items():
        os.mknod(tmp_path / "below" / name, kind | 0o666, os.makedev(major, minor))
    assert {Path(path).name for path in walls._refused_nodes(str(tmp_path))} == wanted
    assert list(walls._refused_nodes(str(tmp_path / "below/zero"))) == []
    assert "Permission denied" in run(host, f"head -c 1 {tmp_path}/below/zero", "--user", "root").stderr
