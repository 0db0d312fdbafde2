"""What people run all day still works under the launch profile."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import Host

pytestmark = pytest.mark.root
PROGRAMS = Path(__file__).parent / "programs"
NODE = """
const net = require('net'), fs = require('fs'), run = require('child_process')
const server = net.createServer(peer => peer.end('inet')).listen(0, '127.0.0.1', () =>
  net.connect(server.address().port).on('data', data => {
    fs.writeFileSync('node.txt', String(data))
    console.log(String(data), run.execSync('echo child').toString().trim(), fs.readFileSync('node.txt').toString())
    server.close()
  }))
"""
GIT = "mkdir own && cd own && git init -q . && git config user.name a && git config user.email a@b && echo x >f"
GIT += " && git add f && git commit -qm m"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder where everybody may write."""
    made = Path("/run") / f"rubicon-programs-{os.getpid()}"
    made.mkdir()
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def agent(
    host: Host, folder: Path, script: str, *options: str, around: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A shell script under `rubicon run`, in the folder; `around` is what starts rubicon."""
    command = [*around, *host.command("run", "-q", "--kill-on-exit", *options, "--", "sh", "-euc", script)]
    environment = {**host.environment, "HOME": str(folder), "TMPDIR": str(folder)}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=90)


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_git_and_a_compiler(host: Host, folder: Path, user: str) -> None:
    script = f"export HOME=$PWD; {GIT} && git log --oneline && cc -O1 -o calls {PROGRAMS}/calls.c && ./calls inet"
    if user == "nobody":  # the clone may lie where only root can read
        shutil.copy(PROGRAMS / "calls.c", folder)
        script = script.replace(f"{PROGRAMS}/", "../")
    done = agent(host, folder, script, "--user", user)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" m\nok\n")


def test_a_debugger_on_ones_own_child(host: Host, folder: Path) -> None:
    subprocess.run(["cc", "-g", "-o", folder / "calls", PROGRAMS / "calls.c"], check=True)
    script = "export SHELL=/bin/sh; gdb -nx -batch -ex 'break main' -ex run -ex 'print argc' -ex continue --args ./calls inet"
    for user in ("root", "nobody"):
        done = agent(host, folder, script, "--user", user)
        assert "$1 = 2" in done.stdout, done.stderr
        assert "exited normally" in done.stdout


def test_tmux(host: Host, folder: Path) -> None:
    tmux = f"tmux -S {folder}/server -f /dev/null"
    script = (
        f"export SHELL=/bin/sh; {tmux} new-session -d 'echo inside >inside; sleep 60';"
        f"until test -s inside; do sleep 0.05; done; {tmux} list-sessions; {tmux} kill-server; cat inside"
    )
    done = agent(host, folder, script)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["inside"]), done.stderr


def test_pip_installs_a_wheel(host: Host, folder: Path) -> None:
    with zipfile.ZipFile(folder / "hello-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("hello.py", "print('hello')\n")
        wheel.writestr("hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
        wheel.writestr("hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("hello-1.0.dist-info/RECORD", "")
    script = "python3 -m venv v && v/bin/pip install -q --no-index --find-links . hello && v/bin/python -m hello"
    done = agent(host, folder, script.replace("python3", sys.executable, 1))
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_apt_fetches_and_dpkg_installs(host: Host, folder: Path) -> None:
    control = "Package: hello-rubicon\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: hello\n"
    (folder / "tree/DEBIAN").mkdir(parents=True)
    (folder / "tree/DEBIAN/control").write_text(control)
    (folder / "tree/opt").mkdir()
    (folder / "tree/opt/hello").write_text("hello\n")
    repository = folder / "repository"
    repository.mkdir()
    subprocess.run(["dpkg-deb", "-b", folder / "tree", repository / "hello.deb"], check=True, capture_output=True)
    package = (repository / "hello.deb").read_bytes()
    listed = f"Filename: ./hello.deb\nSize: {len(package)}\nSHA256: {hashlib.sha256(package).hexdigest()}\n"
    (repository / "Packages").write_text(control + listed)
    for name in (
        "state/lists/partial",
        "cache/archives/partial",
        "root/var/lib/dpkg/updates",
        "root/var/lib/dpkg/info",
    ):
        (folder / name).mkdir(parents=True)
    for name in ("status", "available"):
        (folder / "root/var/lib/dpkg" / name).touch()
    with served(repository) as port:
        (folder / "list").write_text(f"deb [trusted=yes] http://127.0.0.1:{port} ./\n")
        apt = "apt-get -q -o Dir::State=$PWD/state -o Dir::State::status=$PWD/root/var/lib/dpkg/status"
        apt += " -o Dir::Cache=$PWD/cache -o Dir::Etc::sourcelist=$PWD/list -o Dir::Etc::sourceparts=/dev/null"
        script = (
            f"apt-get check -q; {apt} update; {apt} download hello-rubicon; {apt} install -s hello-rubicon;"
            "dpkg --root=$PWD/root -i hello-rubicon_*.deb; cat root/opt/hello"
        )
        done = agent(host, folder, script)
    assert done.returncode == 0, done.stderr
    assert "Inst hello-rubicon" in done.stdout
    assert done.stdout.endswith("\nhello\n")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """A folder over HTTP on loopback; the port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_sudo_for_those_who_have_it(host: Host, folder: Path) -> None:
    rules = folder / "sudoers"
    rules.write_text("root ALL=(ALL:ALL) ALL\nnobody ALL=(ALL:ALL) NOPASSWD: ALL\n")
    rules.chmod(0o440)
    over = ("unshare", "--mount", "sh", "-c", f'mount --bind {rules} /etc/sudoers && exec "$@"', "sh")
    script = "id -un; sudo -n sh -c 'id -un; grep CapEff /proc/self/status'"
    done = agent(host, folder, script, "--user", "nobody", around=over)
    assert done.returncode == 0, done.stderr
    before, after, rights = done.stdout.splitlines()
    assert (before, after) == ("nobody", "root")
    assert not int(rights.split()[1], 16) >> 21 & 1, "root, and without CAP_SYS_ADMIN"
    done = agent(host, folder, script, "--user", "nobody", "--no-new-privs", around=over)
    assert done.returncode == 1
    assert "no new privileges" in done.stderr


def test_ping_is_for_those_in_the_range_and_without_a_file_capability(host: Host, folder: Path) -> None:
    subprocess.run(["cc", "-o", folder / "calls", PROGRAMS / "calls.c"], check=True)
    allowed = ("unshare", "--net", "sh", "-c", 'echo 0 65534 >/proc/sys/net/ipv4/ping_group_range && exec "$@"', "sh")
    closed = ("unshare", "--net", "sh", "-c", 'echo 1 0 >/proc/sys/net/ipv4/ping_group_range && exec "$@"', "sh")
    assert agent(host, folder, "./calls ping raw", around=allowed).stdout.split() == ["ok", "EPERM"]
    assert agent(host, folder, "./calls ping raw", around=closed).stdout.split() == ["EACCES", "EPERM"]
    # version 2 with the effective bit; permitted: CAP_NET_RAW
    os.setxattr(folder / "calls", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    done = agent(host, folder, "./calls ping", around=allowed)
    assert done.returncode == 126
    assert "Operation not permitted" in done.stderr


@pytest.mark.parametrize("program", [name for name in ("node",) if shutil.which(name)])
def test_node(host: Host, folder: Path, program: str) -> None:
    (folder / "program.js").write_text(NODE)
    done = agent(host, folder, f"{program} program.js")
    assert (done.returncode, done.stdout) == (0, "inet child inet\n"), done.stderr


@pytest.mark.parametrize("program", [name for name in ("chromium", "google-chrome") if shutil.which(name)])
def test_a_browser_with_its_own_sandbox(host: Host, folder: Path, program: str) -> None:
    page = "data:text/html,<p>one<script>document.write(1+1)</script>"
    script = f"HOME=$PWD {program} --headless --disable-gpu --user-data-dir=$PWD/profile --dump-dom '{page}'"
    done = agent(host, folder, script, "--user", "nobody")
    assert "</script>2" in done.stdout, done.stderr
